//! What exchanges with Redis cost: how long each kind takes, and how they fail.

use std::fmt;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

use super::{RedisFailure, SURE};

/// A kind of exchange: the script that is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trip {
    /// `check.lua`
    Check,
    /// `enqueue.lua`
    Enqueue,
    /// `reserve.lua`
    Reserve,
    /// `settle.lua`
    Settle,
    /// `beat.lua`
    Beat,
    /// `revise.lua`
    Revise,
    /// `trim.lua`
    Trim,
    /// `pause.lua`
    Pause,
    /// `limit.lua`
    Limit,
    /// `health.lua`
    Health,
    /// `sample.lua`
    Sample,
    /// Commands without a script, which read, mostly.
    Command,
}

/// In the order of [`Trip`].
const NAMES: [&str; 12] = [
    "check", "enqueue", "reserve", "settle", "beat", "revise", "trim", "pause", "limit", "health",
    "sample", "command",
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    kind: &'static str,
    reason: &'static str,
}

/// What all connections of a process to one Redis count.
pub struct Trips {
    times: Family<KindLabel, Histogram, fn() -> Histogram>,
    /// The histograms of `times`, so that none has to be looked for.
    by_kind: [Histogram; NAMES.len()],
    failures: Family<FailureLabels, Counter>,
}

/// 64 µs to 1 s, beyond which no answer is waited for.
fn histogram() -> Histogram {
    Histogram::new(exponential_buckets(0.000_064, 2.0, 15))
}

impl Default for Trips {
    fn default() -> Trips {
        let times: Family<_, _, fn() -> Histogram> = Family::new_with_constructor(histogram);
        let by_kind = NAMES.map(|kind| times.get_or_create(&KindLabel { kind }).clone());
        Trips { times, by_kind, failures: Family::default() }
    }
}

impl fmt::Debug for Trips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trips")
    }
}

impl Trips {
    /// Adds the figures to a process's.
    pub fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "postback_redis",
            "From asking Redis to its answer",
            Unit::Seconds,
            self.times.clone(),
        );
        registry.register(
            "postback_redis_failures",
            "What Redis did not do, by its own word for the reason",
            self.failures.clone(),
        );
    }

    pub(super) fn took(&self, kind: Trip, seconds: f64) {
        self.by_kind[kind as usize].observe(seconds);
    }

    pub(super) fn failed(&self, kind: Trip, failure: &RedisFailure) {
        let labels = FailureLabels { kind: NAMES[kind as usize], reason: reason(failure) };
        self.failures.get_or_create(&labels).inc();
    }
}

/// A word of a closed list, whatever Redis says.
fn reason(failure: &RedisFailure) -> &'static str {
    match failure {
        RedisFailure::Away(..) => "away",
        RedisFailure::Unanswered => "unanswered",
        RedisFailure::Closed(_) => "closed",
        RedisFailure::Lost(_) => "lost",
        RedisFailure::Refused(_) | RedisFailure::Failed(_) => {
            SURE.into_iter().find(|word| *word == failure.kind()).unwrap_or("other")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exposition::Exposition;

    #[test]
    fn trips_count_by_kind_and_failures_by_words_of_a_closed_list() {
        let trips = Trips::default();
        trips.took(Trip::Settle, 0.002);
        trips.failed(Trip::Command, &RedisFailure::Refused("OOM no room".to_owned()));
        trips.failed(Trip::Command, &RedisFailure::Failed("MADEUP by a stranger".to_owned()));
        trips.failed(Trip::Beat, &RedisFailure::Lost("gone".to_owned()));
        let mut registry = Registry::default();
        trips.register(&mut registry);
        let text = Exposition::Text.write(&registry);
        for line in [
            "postback_redis_seconds_count{kind=\"settle\"} 1",
            "postback_redis_seconds_count{kind=\"command\"} 0",
            "postback_redis_failures_total{kind=\"command\",reason=\"OOM\"} 1",
            "postback_redis_failures_total{kind=\"command\",reason=\"other\"} 1",
            "postback_redis_failures_total{kind=\"beat\",reason=\"lost\"} 1",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in {text}");
        }
    }
}
