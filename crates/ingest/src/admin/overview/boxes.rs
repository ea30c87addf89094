//! The boxes of the fleet as the overview shows them: the latest of each, and what it was.

use postback_core::{
    health::{Health, Nginx},
    queue::{BoxFigures, Minutes},
    view,
};
use serde::Serialize;

use super::{
    numbers,
    plot::{Chart, Format, Kind, Plot, Series},
};

/// A box that was not seen for so long is marked.
const UNSEEN_MS: u64 = 120_000;

/// A box.
#[derive(Debug, Clone, Serialize)]
pub(super) struct BoxView {
    pub(super) name: String,
    /// When it was last seen.
    pub(super) seen_at: String,
    /// Whether it was not seen for two minutes.
    pub(super) is_unseen: bool,
    #[serde(flatten)]
    latest: Option<HealthView>,
    nginx: Option<NginxView>,
    #[serde(skip)]
    pub(super) charts: Vec<Chart>,
}

#[derive(Debug, Clone, Serialize)]
struct HealthView {
    /// The share of its CPUs' time that was used, 0 to 1.
    cpu: f64,
    cores: u64,
    load: f64,
    memory_used_bytes: u64,
    memory_bytes: u64,
    swap_used_bytes: u64,
    swap_bytes: u64,
    network_in_bytes_per_second: u64,
    network_out_bytes_per_second: u64,
}

#[derive(Debug, Clone, Serialize)]
struct NginxView {
    active: u64,
    reading: u64,
    writing: u64,
    waiting: u64,
}

impl BoxView {
    pub(super) fn of(seen: &BoxFigures, minutes: &Minutes, is_drawn: bool) -> BoxView {
        BoxView {
            name: seen.name.clone(),
            seen_at: view::time_text(seen.seen_ms),
            is_unseen: minutes.now_ms.saturating_sub(seen.seen_ms) > UNSEEN_MS,
            latest: seen.latest.map(HealthView::of),
            nginx: seen.nginx.map(NginxView::of),
            charts: if is_drawn { charts(seen, minutes) } else { Vec::new() },
        }
    }

    /// The columns of the boxes' table, after the name.
    pub(super) const COLUMNS: [&'static str; 8] = [
        "CPU",
        "Load",
        "Memory",
        "Swap",
        "Network in",
        "Network out",
        "nginx connections",
        "Last seen",
    ];

    /// Its line in that table, each cell with its column's name.
    pub(super) fn cells(&self) -> impl Iterator<Item = (&'static str, String)> {
        let of = |used: u64, all: u64| {
            format!("{} of {}", numbers::bytes(used as f64), numbers::bytes(all as f64))
        };
        let rate = |n: u64| format!("{}/s", numbers::bytes(n as f64));
        let health = self.latest.as_ref().map(|latest| {
            [
                format!("{} of {}", numbers::percent(latest.cpu), latest.cores),
                numbers::count(latest.load),
                of(latest.memory_used_bytes, latest.memory_bytes),
                of(latest.swap_used_bytes, latest.swap_bytes),
                rate(latest.network_in_bytes_per_second),
                rate(latest.network_out_bytes_per_second),
            ]
        });
        let health = health.unwrap_or_else(|| std::array::from_fn(|_| "–".to_owned()));
        let nginx = self.nginx.as_ref().map_or("–".to_owned(), |nginx| {
            let NginxView { active, reading, writing, waiting } = nginx;
            format!("{active}: {reading} reading, {writing} writing, {waiting} waiting")
        });
        let cells = health.into_iter().chain([nginx, self.seen_at.clone()]);
        BoxView::COLUMNS.into_iter().zip(cells)
    }
}

impl HealthView {
    fn of(health: Health) -> HealthView {
        HealthView {
            cpu: health.cpu,
            cores: health.cores,
            load: health.load,
            memory_used_bytes: health.memory_used,
            memory_bytes: health.memory_total,
            swap_used_bytes: health.swap_used,
            swap_bytes: health.swap_total,
            network_in_bytes_per_second: health.network_in,
            network_out_bytes_per_second: health.network_out,
        }
    }
}

impl NginxView {
    fn of(nginx: Nginx) -> NginxView {
        let Nginx { active, reading, writing, waiting } = nginx;
        NginxView { active, reading, writing, waiting }
    }
}

fn charts(seen: &BoxFigures, minutes: &Minutes) -> Vec<Chart> {
    let health = |name, color, figure: fn(&Health) -> f64| Series {
        name,
        color,
        points: seen.steps.iter().map(|(health, _)| health.as_ref().map(figure)).collect(),
    };
    let nginx = |name, color, figure: fn(&Nginx) -> u64| Series {
        name,
        color,
        points: seen.steps.iter().map(|(_, n)| n.as_ref().map(|n| figure(n) as f64)).collect(),
    };
    let draw = |title, unit, format, series| {
        Plot { title, unit, format, series, kind: Kind::Lines, is_small: true }.draw(&minutes.steps)
    };
    let mut charts = vec![
        draw("CPU", "share of all CPUs", Format::Percent, vec![health("CPU", 1, |h| h.cpu)]),
        draw("Load", "programs", Format::Count, vec![health("load", 1, |h| h.load)]),
        draw(
            "Memory",
            "bytes used",
            Format::Bytes,
            vec![health("used", 1, |h| h.memory_used as f64)],
        ),
        draw("Swap", "bytes used", Format::Bytes, vec![health("used", 1, |h| h.swap_used as f64)]),
        draw(
            "Network",
            "bytes a second",
            Format::Bytes,
            vec![
                health("in", 1, |h| h.network_in as f64),
                health("out", 2, |h| h.network_out as f64),
            ],
        ),
    ];
    if seen.nginx.is_some() {
        let series = vec![
            nginx("active", 1, |n| n.active),
            nginx("waiting", 2, |n| n.waiting),
            nginx("writing", 3, |n| n.writing),
        ];
        charts.push(draw("nginx", "connections", Format::Count, series));
    }
    charts
}
