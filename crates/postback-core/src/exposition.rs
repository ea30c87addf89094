//! `/metrics` of both daemons: the two text formats that scrapers take, and what every process tells of itself.

use prometheus_client::{encoding::text::encode, metrics::info::Info, registry::Registry};

mod process;

/// Adds what every process tells: its version, memory, time, files.
pub fn register(registry: &mut Registry) {
    let version = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("postback_build", "The version that runs", version);
    registry.register_collector(Box::new(process::Process));
}

/// How figures are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposition {
    /// Prometheus's own format, 0.0.4: for all who do not ask for the other.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Exposition {
    /// What a scraper with these `Accept` headers takes.
    pub fn of<'a>(accept: impl Iterator<Item = &'a str>) -> Exposition {
        let mut ranges = accept.flat_map(|value| value.split(','));
        let is_refused = |range: &str| {
            let quality = range.split(';').find_map(|part| part.trim().strip_prefix("q="));
            quality.and_then(|quality| quality.trim().parse::<f64>().ok()) == Some(0.0)
        };
        let named = ranges.any(|range| {
            let kind = range.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case("application/openmetrics-text") && !is_refused(range)
        });
        if named { Exposition::OpenMetrics } else { Exposition::Text }
    }

    /// For the answer's header.
    pub fn content_type(self) -> &'static str {
        match self {
            Exposition::Text => "text/plain; version=0.0.4; charset=utf-8",
            Exposition::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The figures as text.
    pub fn write(self, registry: &Registry) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        _ = encode(&mut text, registry);
        match self {
            Exposition::Text => plain(&text),
            Exposition::OpenMetrics => text,
        }
    }
}

/// OpenMetrics as the older format: there a counter's own name ends in `_total`, an info is a gauge whose name ends
/// in `_info`, and units and an end are not told.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            help = described.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|typed| typed.split_once(' '))
        {
            let (ending, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some(help) = help.take() {
                plain.push_str(&format!("# HELP {name}{ending} {help}\n"));
            }
            plain.push_str(&format!("# TYPE {name}{ending} {kind}\n"));
        } else if !line.starts_with('#') {
            plain.push_str(line);
            plain.push('\n');
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use prometheus_client::{
        metrics::{counter::Counter, histogram::Histogram},
        registry::Unit,
    };

    use super::*;

    #[test]
    fn open_metrics_are_for_those_who_ask() {
        let check = |accept: &[&str], expect| {
            assert_eq!(Exposition::of(accept.iter().copied()), expect, "{accept:?}");
        };
        check(&[], Exposition::Text);
        check(&["*/*"], Exposition::Text);
        check(&["text/plain;version=0.0.4;q=1"], Exposition::Text);
        check(&["application/openmetrics-text;q=0, */*"], Exposition::Text);
        // As Prometheus 2.42 asks.
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                          text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        check(&[prometheus], Exposition::OpenMetrics);
        check(&["text/plain", " Application/OpenMetrics-Text "], Exposition::OpenMetrics);
    }

    #[test]
    fn both_formats_tell_the_same() {
        let mut registry = Registry::default();
        let rows = Counter::<u64>::default();
        rows.inc_by(3);
        registry.register("rows", "Rows", rows);
        let wait = Histogram::new([0.5]);
        wait.observe(0.25);
        registry.register_with_unit("wait", "A wait", Unit::Seconds, wait);
        registry.register("build", "What runs", Info::new(vec![("version", "1")]));
        let open = Exposition::OpenMetrics.write(&registry);
        assert!(
            open.starts_with("# HELP rows Rows.\n# TYPE rows counter\nrows_total 3\n"),
            "{open}"
        );
        assert!(open.ends_with("# EOF\n"), "{open}");
        let plain = "# HELP rows_total Rows.\n# TYPE rows_total counter\nrows_total 3\n\
                     # HELP wait_seconds A wait.\n# TYPE wait_seconds histogram\nwait_seconds_sum 0.25\n\
                     wait_seconds_count 1\nwait_seconds_bucket{le=\"0.5\"} 1\nwait_seconds_bucket{le=\"+Inf\"} 1\n\
                     # HELP build_info What runs.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n";
        assert_eq!(Exposition::Text.write(&registry), plain);
    }

    #[test]
    fn a_process_tells_of_itself() {
        let mut registry = Registry::default();
        register(&mut registry);
        let text = Exposition::Text.write(&registry);
        let figure = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.and_then(|n| n.parse::<f64>().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
        };
        let version = concat!("postback_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"}");
        assert!((figure(version) - 1.0).abs() < 0.1, "{text}");
        assert!(figure("process_resident_memory_bytes") > 1e5, "{text}");
        assert!(figure("process_cpu_seconds_total") >= 0.0, "{text}");
        assert!(figure("process_open_fds") >= 3.0, "{text}");
        assert!(figure("process_max_fds") >= figure("process_open_fds"), "{text}");
        // This test began after 2024, and before it ends.
        assert!(figure("process_start_time_seconds") > 1.7e9, "{text}");
    }
}
