//! What is counted of attempts in each minute: their outcomes by class, and how long they took. Pure.
//!
//! deliver adds up a [`Tally`] for each settle; `queue/settle.lua` adds that to the minute and to the totals, and
//! `queue/minutes.rs` reads it again.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    attempt::{Cause, Next, Outcome, Verdict},
    policy::Success,
};

mod histogram;

pub use self::histogram::Histogram;

/// The minute's field of the rows that are to be tried again.
pub const RETRIED: &str = "retried";
/// What the fields of the time from accept to delivered begin with; a bucket's number follows.
pub const ACCEPT_TO_DELIVERED: char = 'a';
/// What the fields of the endpoint's response time begin with.
pub const RESPONSE: char = 'r';

/// How an attempt ended, roughly; each attempt is in one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// An answer with a status from 200 to 299 that broke no body rule.
    Success,
    /// 300 to 399.
    Redirect,
    /// 400 to 499.
    Client,
    /// 500 to 599.
    Server,
    /// Any other status.
    Other,
    /// The policy's time-out.
    Timeout,
    /// The name did not resolve.
    Dns,
    /// No TCP connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The connection broke.
    Reset,
    /// What came was not HTTP.
    Protocol,
    /// The body failed the policy's rule.
    Rule,
    /// The address or port may not be reached.
    Blocked,
    /// No attempt: the row's time was over before it.
    Expired,
}

impl Class {
    /// Every class with its name, which is its field in Redis and its label elsewhere.
    pub const NAMES: [(Class, &'static str); 14] = [
        (Class::Success, "2xx"),
        (Class::Redirect, "3xx"),
        (Class::Client, "4xx"),
        (Class::Server, "5xx"),
        (Class::Other, "other"),
        (Class::Timeout, "timeout"),
        (Class::Dns, "dns"),
        (Class::Connect, "connect"),
        (Class::Tls, "tls"),
        (Class::Reset, "reset"),
        (Class::Protocol, "protocol"),
        (Class::Rule, "rule"),
        (Class::Blocked, "blocked"),
        (Class::Expired, "expired"),
    ];

    /// The class's name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// The class of an attempt, by the rule of success that it was judged by.
    pub fn of(outcome: &Outcome, success: &Success) -> Class {
        let response = match &outcome.result {
            Ok(response) => response,
            Err(failure) => return Class::of_cause(failure.cause()),
        };
        match outcome.verdict(success) {
            Verdict::Retry { cause, .. } if cause != Cause::Status => Class::of_cause(cause),
            _ => match response.status {
                200..=299 => Class::Success,
                300..=399 => Class::Redirect,
                400..=499 => Class::Client,
                500..=599 => Class::Server,
                _ => Class::Other,
            },
        }
    }

    fn of_cause(cause: Cause) -> Class {
        match cause {
            Cause::Blocked => Class::Blocked,
            Cause::Dns => Class::Dns,
            Cause::Connect => Class::Connect,
            Cause::Tls => Class::Tls,
            Cause::Timeout => Class::Timeout,
            Cause::Reset => Class::Reset,
            Cause::Protocol => Class::Protocol,
            Cause::Rule => Class::Rule,
            Cause::Expired => Class::Expired,
            Cause::Status | Cause::WorkerCrash | Cause::Undecodable | Cause::Cancelled => {
                Class::Other
            }
        }
    }
}

/// What one settle tells of attempts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    counts: BTreeMap<&'static str, u64>,
    accept_to_delivered: Histogram,
    response: Histogram,
}

impl Tally {
    /// Counts an attempt: how it was judged, what follows, and how long ago its row was stored.
    pub fn attempt(&mut self, outcome: &Outcome, success: &Success, next: Next, waited: Duration) {
        self.count(Class::of(outcome, success).name());
        self.response.add(outcome.response_time);
        match next {
            Next::Delivered => self.accept_to_delivered.add(waited),
            Next::Retry(_) => self.count(RETRIED),
            Next::Dead(_) => {}
        }
    }

    /// Counts a row whose time was over before an attempt.
    pub fn expired(&mut self) {
        self.count(Class::Expired.name());
    }

    fn count(&mut self, field: &'static str) {
        *self.counts.entry(field).or_default() += 1;
    }

    /// What is added to the minute's fields and to the totals.
    pub fn counts(&self) -> Vec<(&'static str, u64)> {
        self.counts.iter().map(|(field, n)| (*field, *n)).collect()
    }

    /// What is added to the minute's fields only.
    pub fn buckets(&self) -> Vec<(String, u64)> {
        let histograms =
            [(ACCEPT_TO_DELIVERED, &self.accept_to_delivered), (RESPONSE, &self.response)];
        let fields = |(letter, histogram): (char, &Histogram)| {
            histogram
                .buckets()
                .map(|(bucket, n)| (format!("{letter}{bucket}"), n))
                .collect::<Vec<_>>()
        };
        histograms.into_iter().flat_map(fields).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::attempt::{Failure, Response};

    fn answer(status: u16) -> Outcome {
        let response = Response {
            status,
            retry_after: None,
            body: b"no".to_vec(),
            truncated: false,
            body_failed: None,
        };
        Outcome { result: Ok(response), response_time: Duration::from_millis(1) }
    }

    fn failed(failure: Failure) -> Outcome {
        Outcome { result: Err(failure), response_time: Duration::from_millis(1) }
    }

    #[test]
    fn classes_keep_their_places() {
        for (place, (class, name)) in Class::NAMES.into_iter().enumerate() {
            assert_eq!((class as usize, class.name()), (place, name));
        }
    }

    #[test]
    fn an_attempt_s_class_is_its_status_or_why_there_is_no_good_answer() {
        let check = |outcome: &Outcome, expect| {
            assert_eq!(Class::of(outcome, &Success::default()).name(), expect);
        };
        for (status, expect) in
            [(204, "2xx"), (301, "3xx"), (404, "4xx"), (429, "4xx"), (503, "5xx"), (600, "other")]
        {
            check(&answer(status), expect);
        }
        check(&failed(Failure::Dns(String::new())), "dns");
        check(&failed(Failure::Timeout(String::new())), "timeout");
        check(&failed(Failure::Blocked(String::new())), "blocked");
        let rule = Success { body_contains: Some("ok".into()), ..Success::default() };
        assert_eq!(Class::of(&answer(200), &rule), Class::Rule);
        assert_eq!(Class::of(&answer(500), &rule), Class::Server);
        let mut cut = answer(200);
        if let Ok(response) = &mut cut.result {
            response.body_failed = Some(Failure::Reset(String::new()));
        }
        assert_eq!(Class::of(&cut, &rule), Class::Reset);
        assert_eq!(Class::of(&cut, &Success::default()), Class::Success);
    }

    #[test]
    fn a_tally_adds_up_and_names_a_field_for_each_bucket() {
        let (mut tally, success) = (Tally::default(), Success::default());
        let hour = Duration::from_secs(3600);
        tally.attempt(&answer(200), &success, Next::Delivered, Duration::from_millis(1));
        tally.attempt(&answer(200), &success, Next::Delivered, hour);
        tally.attempt(&answer(500), &success, Next::Retry(hour), hour);
        tally.attempt(&answer(404), &success, Next::Dead(Cause::Status), hour);
        tally.expired();
        let expect = [("2xx", 2), ("4xx", 1), ("5xx", 1), ("expired", 1), ("retried", 1)];
        assert_eq!(tally.counts(), expect);
        let buckets = tally.buckets();
        assert_eq!(buckets.len(), 3, "{buckets:?}");
        let sum = |letter: char| {
            buckets.iter().filter(|(field, _)| field.starts_with(letter)).map(|(_, n)| n).sum()
        };
        assert_eq!((sum(ACCEPT_TO_DELIVERED), sum(RESPONSE)), (2_u64, 4_u64));
    }
}
