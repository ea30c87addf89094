//! The overview's figures as JSON: the totals, and the steps of the span.

use std::{collections::BTreeMap, time::Duration};

use postback_core::{
    figures::{Class, Histogram},
    queue::{Figures, Minutes, Stats, Step, Totals},
    view,
};
use serde::Serialize;

/// What was counted.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Counts {
    pub(super) accepted: u64,
    pub(super) delivered: u64,
    /// Attempts that delivered nothing.
    pub(super) failed: u64,
    /// Rows that died; one that was replayed and died again counts twice.
    pub(super) dead: u64,
    pub(super) dropped: u64,
    pub(super) retried: u64,
    pub(super) attempts: u64,
    /// Attempts by class; `expired` are rows whose time was over before one.
    pub(super) outcomes: BTreeMap<&'static str, u64>,
}

/// Redis's memory, bytes.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Memory {
    pub(super) memory_bytes: u64,
    /// `maxmemory`, if there is one.
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) backlog_bytes: u64,
    pub(super) log_bytes: u64,
}

/// The span's figures.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Sum {
    /// When the first step begins.
    from: String,
    step_seconds: u64,
    pub(super) sums: Counts,
    accept_to_delivered: Times,
    response: Times,
    steps: Vec<StepView>,
}

#[derive(Debug, Clone, Serialize)]
struct StepView {
    at: String,
    /// How long it is; the last one ends now.
    seconds: f64,
    #[serde(flatten)]
    counts: Counts,
    accept_to_delivered: Times,
    response: Times,
    /// The most that was seen in it; null: nobody looked.
    backlog_rows: Option<u64>,
    oldest_row_seconds: Option<f64>,
    dead_rows: Option<u64>,
    in_flight: Option<u64>,
}

/// How long something took, milliseconds; right to a tenth. Null where there was none.
#[derive(Debug, Clone, Serialize)]
struct Times {
    count: u64,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
    p99_ms: Option<f64>,
}

/// So many a second.
pub(super) fn rate(n: u64, time: Duration) -> f64 {
    n as f64 / time.as_secs_f64().max(1.0)
}

/// A percentile in milliseconds.
pub(super) fn percentile_ms(times: &Histogram, hundredths: f64) -> Option<f64> {
    times.percentile(hundredths).map(|time| (time.as_secs_f64() * 1e6).round() / 1e3)
}

impl Times {
    fn of(times: &Histogram) -> Times {
        Times {
            count: times.count(),
            p50_ms: percentile_ms(times, 50.0),
            p95_ms: percentile_ms(times, 95.0),
            p99_ms: percentile_ms(times, 99.0),
        }
    }
}

impl Counts {
    pub(super) fn of(figures: &Figures) -> Counts {
        Counts {
            accepted: figures.accepted,
            delivered: figures.delivered,
            failed: figures.failed(),
            dead: figures.dead,
            dropped: figures.dropped,
            retried: figures.retried,
            attempts: figures.attempts(),
            outcomes: outcomes(&figures.classes),
        }
    }

    pub(super) fn since_the_beginning(stats: &[Stats], totals: &[Totals]) -> Counts {
        let mut classes = [0; Class::NAMES.len()];
        for total in totals {
            classes.iter_mut().zip(total.classes).for_each(|(sum, n)| *sum += n);
        }
        let attempts = classes.iter().sum::<u64>() - classes[Class::Expired as usize];
        let sum = |figure: fn(&Stats) -> u64| stats.iter().map(figure).sum::<u64>();
        let delivered = sum(|stats| stats.delivered);
        Counts {
            accepted: sum(|stats| stats.accepted),
            delivered,
            failed: attempts.saturating_sub(delivered),
            dead: totals.iter().map(|totals| totals.died).sum(),
            dropped: sum(|stats| stats.dropped),
            retried: totals.iter().map(|totals| totals.retried).sum(),
            attempts,
            outcomes: outcomes(&classes),
        }
    }
}

fn outcomes(classes: &[u64; Class::NAMES.len()]) -> BTreeMap<&'static str, u64> {
    Class::NAMES.iter().zip(classes).map(|((_, name), n)| (*name, *n)).collect()
}

impl Sum {
    pub(super) fn of(minutes: &Minutes) -> Sum {
        let mut all = Figures::default();
        minutes.steps.iter().for_each(|step| all.merge(&step.figures));
        let first = minutes.steps.first();
        Sum {
            from: view::time_text(first.map_or(minutes.now_ms, |step| step.at_ms)),
            step_seconds: first.map_or(0, |step| step.time.as_secs()),
            sums: Counts::of(&all),
            accept_to_delivered: Times::of(&all.accept_to_delivered),
            response: Times::of(&all.response),
            steps: minutes.steps.iter().map(StepView::of).collect(),
        }
    }
}

impl StepView {
    fn of(step: &Step) -> StepView {
        let figures = &step.figures;
        StepView {
            at: view::time_text(step.at_ms),
            seconds: step.time.as_secs_f64(),
            counts: Counts::of(figures),
            accept_to_delivered: Times::of(&figures.accept_to_delivered),
            response: Times::of(&figures.response),
            backlog_rows: figures.samples.map(|samples| samples.backlog),
            oldest_row_seconds: figures.samples.map(|samples| samples.oldest.as_secs_f64()),
            dead_rows: figures.samples.map(|samples| samples.dead_rows),
            in_flight: figures.samples.map(|samples| samples.in_flight),
        }
    }
}
