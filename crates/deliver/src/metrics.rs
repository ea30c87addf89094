//! What this process counts for Prometheus. How it is asked for is in `metrics/serve.rs`.
//!
//! No label holds a host or a URL: the label sets are closed lists. The counters of an attempt are at hand, so that
//! none has to be looked for on its way.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use postback_core::{
    attempt::{Next, Outcome},
    exposition::{self, Exposition},
    figures::Class,
    policy::Success,
    redis::Trips,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

mod serve;

pub(crate) use self::serve::serve;

/// What follows from an attempt, in the order of [`Metrics::attempts`].
const OUTCOMES: [&str; 3] = ["delivered", "retry", "dead"];

/// How many classes an attempt may be in: all but the last, `expired`, which is none.
const CLASSES: usize = Class::NAMES.len() - 1;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// What the workers have on their hands when it is asked for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Load {
    /// Whether every worker may take and settle.
    pub(crate) is_ready: bool,
    pub(crate) held_batches: usize,
    pub(crate) lanes: usize,
    pub(crate) parked_lanes: usize,
    pub(crate) queued_rows: usize,
}

impl Load {
    /// Of two workers together.
    pub(crate) fn and(self, other: Load) -> Load {
        Load {
            is_ready: self.is_ready && other.is_ready,
            held_batches: self.held_batches + other.held_batches,
            lanes: self.lanes + other.lanes,
            parked_lanes: self.parked_lanes + other.parked_lanes,
            queued_rows: self.queued_rows + other.queued_rows,
        }
    }
}

/// [`Load`] as figures.
#[derive(Default)]
struct LoadGauges {
    ready: Gauge,
    held_batches: Gauge,
    lanes: Gauge,
    parked_lanes: Gauge,
    queued_rows: Gauge,
}

/// The counters of this process.
pub(crate) struct Metrics {
    registry: Registry,
    attempts: [Counter; OUTCOMES.len()],
    outcomes: [Counter; CLASSES],
    response: Histogram,
    accept_to_delivered: Histogram,
    load: LoadGauges,
    pub(crate) in_flight: Gauge,
    pub(crate) reserved: Counter<u64, AtomicU64>,
}

impl Metrics {
    /// `trips` are those of the queue that the process uses.
    pub(crate) fn new(trips: &Trips) -> Metrics {
        let attempts = Family::<OutcomeLabel, Counter>::default();
        let outcomes = Family::<ClassLabel, Counter>::default();
        let mut metrics = Metrics {
            attempts: OUTCOMES
                .map(|outcome| attempts.get_or_create(&OutcomeLabel { outcome }).clone()),
            outcomes: std::array::from_fn(|n| {
                let class = Class::NAMES[n].1;
                outcomes.get_or_create(&ClassLabel { class }).clone()
            }),
            // 1 ms to 65 s, and for waits to 4.6 days.
            response: Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            accept_to_delivered: Histogram::new(exponential_buckets(0.001, 3.0, 19)),
            load: LoadGauges::default(),
            in_flight: Gauge::default(),
            reserved: Counter::default(),
            registry: Registry::default(),
        };
        let mut registry = Registry::default();
        exposition::register(&mut registry);
        trips.register(&mut registry);
        let own = registry.sub_registry_with_prefix("postback");
        own.register("attempts", "Attempts by what followed", attempts);
        let help = "Attempts by what they met; `rule`: an answer that broke a body rule";
        own.register("outcomes", help, outcomes);
        metrics.describe(own);
        metrics.registry = registry;
        metrics
    }

    fn describe(&self, own: &mut Registry) {
        let reserved = self.reserved.clone();
        own.register("rows_reserved", "Rows taken from Redis to be sent", reserved);
        let times = [
            ("response", "First byte out to last byte in", &self.response),
            ("accept_to_delivered", "Stored in Redis to delivered", &self.accept_to_delivered),
        ];
        for (name, help, histogram) in times {
            own.register_with_unit(name, help, Unit::Seconds, histogram.clone());
        }
        for (name, help, gauge) in [
            ("in_flight", "Requests in flight", &self.in_flight),
            (
                "ready",
                "1: Redis is there and the lease holds; 0: nothing is taken",
                &self.load.ready,
            ),
            ("held_batches", "Batches that this process holds", &self.load.held_batches),
            ("lanes", "Lanes with rows, connections or failures here", &self.load.lanes),
            ("parked_lanes", "Those of them whose breaker is open", &self.load.parked_lanes),
            ("queued_rows", "Rows that wait here for a slot", &self.load.queued_rows),
        ] {
            own.register(name, help, gauge.clone());
        }
    }

    /// `success`: the rule that the attempt was judged by.
    pub(crate) fn observe(&self, outcome: &Outcome, success: &Success, next: Next) {
        let followed = match next {
            Next::Delivered => 0,
            Next::Retry(_) => 1,
            Next::Dead(_) => 2,
        };
        self.attempts[followed].inc();
        if let Some(met) = self.outcomes.get(Class::of(outcome, success) as usize) {
            met.inc();
        }
        self.response.observe(outcome.response_time.as_secs_f64());
    }

    pub(crate) fn delivered_after(&self, wait: Duration) {
        self.accept_to_delivered.observe(wait.as_secs_f64());
    }

    fn text(&self, load: Load, form: Exposition) -> String {
        let gauges = &self.load;
        gauges.ready.set(load.is_ready.into());
        for (gauge, figure) in [
            (&gauges.held_batches, load.held_batches),
            (&gauges.lanes, load.lanes),
            (&gauges.parked_lanes, load.parked_lanes),
            (&gauges.queued_rows, load.queued_rows),
        ] {
            gauge.set(figure.try_into().unwrap_or(i64::MAX));
        }
        form.write(&self.registry)
    }
}

#[cfg(test)]
mod tests {
    use postback_core::attempt::{Cause, Failure, Response};

    use super::*;

    #[test]
    fn an_attempt_counts_once_by_what_followed_and_once_by_what_it_met() {
        let answer = |status, body_failed| {
            let body = Vec::new();
            Ok(Response { status, retry_after: None, body, truncated: false, body_failed })
        };
        let failed = |failure: fn(String) -> Failure| failure("x".to_owned());
        let retry = Next::Retry(Duration::ZERO);
        let any = Success::default();
        let body = Success { body_contains: Some("ok=1".into()), ..Success::default() };
        let not_found = Success { status: vec![(404, 404)], ..body.clone() };
        let check = |result, success: &Success, next, expect: [&str; 2]| {
            let metrics = Metrics::new(&Trips::default());
            let response_time = Duration::from_millis(3);
            metrics.observe(&Outcome { result, response_time }, success, next);
            let text = metrics.text(Load::default(), Exposition::Text);
            let counted = text.lines().filter(|line| {
                (line.starts_with("postback_attempts_total")
                    || line.starts_with("postback_outcomes_total"))
                    && !line.ends_with(" 0")
            });
            let [followed, met] = expect;
            let expect = [
                format!("postback_attempts_total{{outcome=\"{followed}\"}} 1"),
                format!("postback_outcomes_total{{class=\"{met}\"}} 1"),
            ];
            assert_eq!(counted.collect::<Vec<_>>(), expect);
        };
        check(answer(204, None), &any, Next::Delivered, ["delivered", "2xx"]);
        check(
            answer(200, Some(failed(Failure::Reset))),
            &any,
            Next::Delivered,
            ["delivered", "2xx"],
        );
        check(answer(302, None), &any, Next::Dead(Cause::Status), ["dead", "3xx"]);
        check(answer(404, None), &any, Next::Dead(Cause::Status), ["dead", "4xx"]);
        // Where a status is named, the rule on the body may be what failed.
        check(answer(404, None), &not_found, retry, ["retry", "rule"]);
        check(answer(503, None), &any, retry, ["retry", "5xx"]);
        check(answer(999, None), &any, Next::Dead(Cause::Status), ["dead", "other"]);
        check(answer(200, None), &body, retry, ["retry", "rule"]);
        check(answer(200, Some(failed(Failure::Timeout))), &body, retry, ["retry", "timeout"]);
        check(Err(failed(Failure::Blocked)), &any, Next::Dead(Cause::Blocked), ["dead", "blocked"]);
        check(Err(failed(Failure::Dns)), &any, retry, ["retry", "dns"]);
        check(Err(failed(Failure::Connect)), &any, retry, ["retry", "connect"]);
        check(Err(failed(Failure::Tls)), &any, retry, ["retry", "tls"]);
        check(Err(failed(Failure::Timeout)), &any, retry, ["retry", "timeout"]);
        check(Err(failed(Failure::Reset)), &any, retry, ["retry", "reset"]);
        check(Err(failed(Failure::Protocol)), &any, retry, ["retry", "protocol"]);
    }
}
