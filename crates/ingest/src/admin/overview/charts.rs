//! Which charts of the fleet the overview has. How one is drawn is in `plot.rs`, those of the boxes are in `boxes.rs`.

use std::time::Duration;

use postback_core::{
    figures::{Class, Histogram},
    queue::{Figures, Minutes, Samples, Step},
};

use super::{
    figures::{percentile_ms, rate},
    plot::{Chart, Format, Kind, Plot, Series},
};

/// A step that has only begun tells no rate.
const TOO_SHORT: Duration = Duration::from_secs(10);

/// What the outcomes are grouped to, from the bottom of the stack up, with each group's colour.
const GROUPS: [(&str, u8, &[Class]); 9] = [
    ("2xx", 2, &[Class::Success]),
    ("4xx", 4, &[Class::Client]),
    ("5xx", 3, &[Class::Server]),
    ("time-out", 5, &[Class::Timeout]),
    ("DNS", 6, &[Class::Dns]),
    ("TLS", 7, &[Class::Tls]),
    ("connection", 1, &[Class::Connect, Class::Reset, Class::Protocol]),
    ("blocked", 8, &[Class::Blocked]),
    ("other", 9, &[Class::Redirect, Class::Other, Class::Rule]),
];

/// All of them.
pub(super) fn all(minutes: &Minutes) -> Vec<Chart> {
    let steps = &minutes.steps;
    let (lines, log) = (Kind::Lines, Kind::LogLines);
    let rows = |figure: fn(&Samples) -> u64| move |samples: &Samples| figure(samples) as f64;
    let flow = vec![
        counted(steps, "in", 1, |f| f.accepted),
        counted(steps, "delivered", 2, |f| f.delivered),
        counted(steps, "failed attempts", 3, Figures::failed),
    ];
    let backlog = vec![seen(steps, "waiting", 1, rows(|s| s.backlog))];
    let age = vec![seen(steps, "oldest row", 4, |s| s.oldest.as_secs_f64())];
    let waits = percentiles(steps, |f| &f.accept_to_delivered);
    let responses = percentiles(steps, |f| &f.response);
    let ends = vec![
        counted(steps, "to be retried", 1, |f| f.retried),
        counted(steps, "died", 3, |f| f.dead),
    ];
    let dead = vec![seen(steps, "dead rows", 3, rows(|s| s.dead_rows))];
    let in_flight = vec![seen(steps, "in flight", 1, rows(|s| s.in_flight))];
    [
        ("In, delivered, failed", "rows or attempts a second", Format::Rate, lines, flow),
        ("Outcomes", "attempts a second", Format::Rate, Kind::Stack, outcomes(steps)),
        ("Backlog", "rows", Format::Count, lines, backlog),
        ("Age of the oldest waiting row", "time", Format::Seconds, lines, age),
        ("From accepted to delivered", "time, logarithmic", Format::Seconds, log, waits),
        ("The endpoints alone", "response time, logarithmic", Format::Seconds, log, responses),
        ("Retries and deaths", "rows a second", Format::Rate, lines, ends),
        ("Dead letters", "rows", Format::Count, lines, dead),
        ("In flight", "requests", Format::Count, lines, in_flight),
    ]
    .into_iter()
    .map(|(title, unit, format, kind, series)| {
        Plot { title, unit, format, kind, series, is_small: false }.draw(steps)
    })
    .collect()
}

fn counted(steps: &[Step], name: &'static str, color: u8, figure: fn(&Figures) -> u64) -> Series {
    let point =
        |step: &Step| (step.time >= TOO_SHORT).then(|| rate(figure(&step.figures), step.time));
    Series { name, color, points: steps.iter().map(point).collect() }
}

fn seen(steps: &[Step], name: &'static str, color: u8, figure: impl Fn(&Samples) -> f64) -> Series {
    let point = |step: &Step| step.figures.samples.as_ref().map(&figure);
    Series { name, color, points: steps.iter().map(point).collect() }
}

fn percentiles(steps: &[Step], times: fn(&Figures) -> &Histogram) -> Vec<Series> {
    let series = |name, color, hundredths| {
        let point = |step: &Step| percentile_ms(times(&step.figures), hundredths);
        Series { name, color, points: steps.iter().map(|s| Some(point(s)? / 1000.0)).collect() }
    };
    vec![series("p50", 1, 50.0), series("p95", 5, 95.0), series("p99", 3, 99.0)]
}

fn outcomes(steps: &[Step]) -> Vec<Series> {
    let series = |(name, color, classes): (&'static str, u8, &[Class])| {
        let point = |step: &Step| {
            let n = classes.iter().map(|class| step.figures.classes[*class as usize]).sum();
            (step.time >= TOO_SHORT).then(|| rate(n, step.time))
        };
        Series { name, color, points: steps.iter().map(point).collect() }
    };
    GROUPS.into_iter().map(series).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_class_of_attempts_is_in_one_group() {
        for (class, name) in Class::NAMES {
            let groups = GROUPS.iter().filter(|(_, _, classes)| classes.contains(&class)).count();
            // No attempt was made of what expired.
            assert_eq!(groups, usize::from(class != Class::Expired), "{name}");
        }
    }
}
