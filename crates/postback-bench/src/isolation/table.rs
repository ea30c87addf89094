//! The table of figures and the lines before it that say under what conditions they came about.

use std::{fmt::Write as _, fs, process::Command};

/// One line of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Figure {
    what: String,
    value: String,
    unit: &'static str,
    goal: String,
}

impl Figure {
    /// A figure without a goal.
    pub(super) fn new(what: impl Into<String>, value: impl ToString, unit: &'static str) -> Figure {
        Figure { what: what.into(), value: value.to_string(), unit, goal: String::new() }
    }

    /// The same figure with what it should be, and whether it is.
    pub(super) fn goal(mut self, goal: &str, met: bool) -> Figure {
        self.goal = format!("{goal}: {}", if met { "met" } else { "missed" });
        self
    }
}

/// A number with so many digits after the point.
pub(crate) fn digits(number: f64, digits: usize) -> String {
    format!("{number:.digits$}")
}

/// Microseconds as milliseconds.
pub(crate) fn millis(us: u64) -> String {
    digits(us as f64 / 1000.0, 2)
}

/// The median of values with the least and the greatest; a dash without any.
pub(crate) fn spread(values: impl IntoIterator<Item = f64>, places: usize) -> String {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let text = |value: &f64| digits(*value, places);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) => {
            format!("{} ({}–{})", text(median), text(least), text(most))
        }
        _ => "–".to_owned(),
    }
}

/// All figures, by trial, as one table that is also Markdown.
#[derive(Debug, Default)]
pub(super) struct Table(Vec<(&'static str, Figure)>);

impl Table {
    /// Adds a trial's figures.
    pub(super) fn add(&mut self, trial: &'static str, figures: Vec<Figure>) {
        self.0.extend(figures.into_iter().map(|figure| (trial, figure)));
    }

    /// The table's text.
    pub(super) fn text(&self) -> String {
        let head = ["trial", "figure", "value", "unit", "goal"].map(str::to_owned).to_vec();
        let line = |(trial, f): &(&str, Figure)| {
            vec![
                (*trial).to_owned(),
                f.what.clone(),
                f.value.clone(),
                f.unit.into(),
                f.goal.clone(),
            ]
        };
        let mut lines = vec![head];
        lines.extend(self.0.iter().map(line));
        aligned(&lines)
    }
}

/// Lines of cells, the first of them the head, as one table that is also Markdown.
pub(crate) fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |n: usize| lines.iter().map(|cells| cells[n].chars().count()).max();
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    let rule: String = widths.iter().map(|width| format!("|{}", "-".repeat(width + 2))).collect();
    let mut text = String::new();
    for (number, cells) in lines.iter().enumerate() {
        for (cell, width) in cells.iter().zip(&widths) {
            // Writing to a String cannot fail.
            _ = write!(text, "| {cell:width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            text.push_str(&rule);
            text.push_str("|\n");
        }
    }
    text
}

/// What a reader must know to compare: the machine, the programs and how they were built.
pub(crate) fn conditions(options: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<&str> = load.split_whitespace().take(3).collect();
    let profile = if cfg!(debug_assertions) { "dev" } else { "release" };
    let redis = Command::new("redis-server").arg("--version").output();
    let redis = redis.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let redis = redis.unwrap_or_default();
    let redis = redis.split_whitespace().find_map(|word| word.strip_prefix("v="));
    format!(
        "cores: {cores}\ncpu: {}\nmemory: {} GiB\nkernel: {}\nload before (1, 5, 15 min): {}\nbuild profile: {profile}\n\
         postback: {}\nredis: {} with AOF everysec, one shard\noptions: {options}\n",
        cpu_model(),
        memory_gib(),
        kernel.trim(),
        load.join(" "),
        env!("CARGO_PKG_VERSION"),
        redis.unwrap_or("unknown"),
    )
}

/// The machine's memory; 0: unknown.
fn memory_gib() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or_default().div_ceil(1024 * 1024)
}

fn cpu_model() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_goals_are_judged() {
        let mut table = Table::default();
        table.add("dead", vec![Figure::new("p99", millis(1500), "ms").goal("under 2", true)]);
        table.add("x", vec![Figure::new("rows over 250 ms", 3, "rows").goal("0", false)]);
        assert_eq!(
            table.text(),
            "| trial | figure           | value | unit | goal         |\n\
             |-------|------------------|-------|------|--------------|\n\
             | dead  | p99              | 1.50  | ms   | under 2: met |\n\
             | x     | rows over 250 ms | 3     | rows | 0: missed    |\n"
        );
    }
}
