//! What happened in one attempt, and what follows from it.
//!
//! Pure: time and jitter are arguments. Sending is deliver's; storing the result is `queue`'s.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

use crate::policy::Success;

/// The longest `Retry-After` that is followed.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Why a row is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// The address or port is not one that may be reached.
    Blocked,
    /// The partner's status was final or the attempts were used up on it.
    Status,
    /// The name did not resolve.
    Dns,
    /// No TCP connection.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// The partner took longer than the policy's time-out.
    Timeout,
    /// The connection broke.
    Reset,
    /// What came was not HTTP.
    Protocol,
    /// The body failed the policy's rule.
    Rule,
    /// The next attempt would fall past `expires_in`.
    Expired,
    /// Four workers died with the batch.
    WorkerCrash,
    /// The stored batch cannot be read.
    Undecodable,
    /// An operator cancelled it.
    Cancelled,
}

impl Cause {
    /// Every cause with its name; a cause's place is its number in the stored row state.
    pub const NAMES: [(Cause, &'static str); 13] = [
        (Cause::Blocked, "blocked"),
        (Cause::Status, "status"),
        (Cause::Dns, "dns"),
        (Cause::Connect, "connect"),
        (Cause::Tls, "tls"),
        (Cause::Timeout, "timeout"),
        (Cause::Reset, "reset"),
        (Cause::Protocol, "protocol"),
        (Cause::Rule, "rule"),
        (Cause::Expired, "expired"),
        (Cause::WorkerCrash, "worker_crash"),
        (Cause::Undecodable, "undecodable"),
        (Cause::Cancelled, "cancelled"),
    ];

    /// The cause's name.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// The cause with this number.
    pub fn from_number(n: u8) -> Option<Cause> {
        Self::NAMES.get(usize::from(n)).map(|(cause, _)| *cause)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An attempt that brought no complete answer; the text says to people what happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The address or port may not be reached; nothing was sent.
    Blocked(String),
    /// The name did not resolve.
    Dns(String),
    /// No TCP connection.
    Connect(String),
    /// The TLS handshake failed.
    Tls(String),
    /// The policy's time-out ran out.
    Timeout(String),
    /// The connection broke.
    Reset(String),
    /// What came was not HTTP.
    Protocol(String),
}

impl Failure {
    /// The cause of death if no attempt is left.
    pub fn cause(&self) -> Cause {
        match self {
            Failure::Blocked(_) => Cause::Blocked,
            Failure::Dns(_) => Cause::Dns,
            Failure::Connect(_) => Cause::Connect,
            Failure::Tls(_) => Cause::Tls,
            Failure::Timeout(_) => Cause::Timeout,
            Failure::Reset(_) => Cause::Reset,
            Failure::Protocol(_) => Cause::Protocol,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Failure::Blocked(text)
        | Failure::Dns(text)
        | Failure::Connect(text)
        | Failure::Tls(text)
        | Failure::Timeout(text)
        | Failure::Reset(text)
        | Failure::Protocol(text)) = self;
        write!(f, "{}: {text}", self.cause())
    }
}

/// A partner's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// HTTP status.
    pub status: u16,
    /// `Retry-After` as a wait from now, if the answer had a readable one.
    pub retry_after: Option<Duration>,
    /// The first bytes of the body, at most 64 KiB.
    pub body: Vec<u8>,
    /// Whether the body went on beyond what was read.
    pub truncated: bool,
    /// What broke while the body was read: it stalled or was cut.
    pub body_failed: Option<Failure>,
}

/// What happened in one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The answer, or why there is none.
    pub result: Result<Response, Failure>,
    /// From the first byte out to the last byte in, or to the failure.
    pub response_time: Duration,
}

/// What follows from an outcome, before retries and expiry are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Delivered.
    Delivered,
    /// Try again; `cause` is that of death when no attempt is left.
    Retry {
        /// Cause of death when no attempt is left.
        cause: Cause,
        /// The partner's wish, at most [`MAX_RETRY_AFTER`].
        after: Option<Duration>,
    },
    /// Dead at once.
    Dead(Cause),
}

impl Outcome {
    /// The verdict by the success rule (DESIGN, delivery rules).
    pub fn verdict(&self, success: &Success) -> Verdict {
        let response = match &self.result {
            Ok(response) => response,
            Err(Failure::Blocked(_)) => return Verdict::Dead(Cause::Blocked),
            Err(failure) => return Verdict::Retry { cause: failure.cause(), after: None },
        };
        let after = response.retry_after.map(|wait| wait.min(MAX_RETRY_AFTER));
        if success.status_ok(response.status) {
            if !success.has_body_rule() {
                return Verdict::Delivered;
            }
            return match &response.body_failed {
                Some(failure) => Verdict::Retry { cause: failure.cause(), after },
                None if success.body_ok(&response.body) => Verdict::Delivered,
                None => Verdict::Retry { cause: Cause::Rule, after },
            };
        }
        match response.status {
            408 | 425 | 429 | 500..=599 => Verdict::Retry { cause: Cause::Status, after },
            _ => Verdict::Dead(Cause::Status),
        }
    }

    /// What the breaker makes of it: `Some(true)` counts as a failure in a row, `Some(false)` ends the row,
    /// `None` leaves the count alone.
    pub fn breaker_failure(&self) -> Option<bool> {
        match &self.result {
            Err(Failure::Blocked(_)) => None,
            Err(_) => Some(true),
            Ok(response) => match response.status {
                408 | 425 | 429 | 600.. => None,
                500..=599 => Some(true),
                _ if response.body_failed.is_some() => None,
                _ => Some(false),
            },
        }
    }

    /// The status, if an answer came.
    pub fn status(&self) -> Option<u16> {
        self.result.as_ref().ok().map(|response| response.status)
    }
}

/// What becomes of a row after a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Done.
    Delivered,
    /// Again after this wait.
    Retry(Duration),
    /// Over, with its cause.
    Dead(Cause),
}

impl Verdict {
    /// Applies the schedule: `attempts` made so far (this one included), `retries` the waits, `jitter` in
    /// -1.0..=1.0 moves the wait by up to 20 %, `left` the time until the row expires.
    pub fn next(self, attempts: u32, retries: &[Duration], jitter: f64, left: Duration) -> Next {
        let (cause, after) = match self {
            Verdict::Delivered => return Next::Delivered,
            Verdict::Dead(cause) => return Next::Dead(cause),
            Verdict::Retry { cause, after } => (cause, after),
        };
        let Some(wait) = retries.get(attempts.saturating_sub(1) as usize) else {
            return Next::Dead(cause);
        };
        let wait = wait.mul_f64(1.0 + 0.2 * jitter.clamp(-1.0, 1.0)).max(after.unwrap_or_default());
        if wait > left { Next::Dead(Cause::Expired) } else { Next::Retry(wait) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16) -> Outcome {
        let response = Response {
            status,
            retry_after: None,
            body: b"ok=1".to_vec(),
            truncated: false,
            body_failed: None,
        };
        Outcome { result: Ok(response), response_time: Duration::ZERO }
    }

    fn failed(failure: Failure) -> Outcome {
        Outcome { result: Err(failure), response_time: Duration::ZERO }
    }

    fn retry(cause: Cause) -> Verdict {
        Verdict::Retry { cause, after: None }
    }

    #[test]
    fn the_status_decides_where_there_is_no_body_rule() {
        let check = |status, expect| {
            assert_eq!(answer(status).verdict(&Success::default()), expect, "{status}")
        };
        for status in [200, 201, 204, 299] {
            check(status, Verdict::Delivered);
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599] {
            check(status, retry(Cause::Status));
        }
        for status in [300, 301, 302, 307, 400, 401, 403, 404, 410, 422, 451, 600, 999] {
            check(status, Verdict::Dead(Cause::Status));
        }
    }

    #[test]
    fn the_policy_s_statuses_win_over_every_list() {
        let success =
            Success { status: vec![(204, 204), (503, 503), (302, 302)], ..Success::default() };
        let check =
            |status, expect| assert_eq!(answer(status).verdict(&success), expect, "{status}");
        check(503, Verdict::Delivered);
        check(302, Verdict::Delivered);
        check(200, Verdict::Dead(Cause::Status));
    }

    #[test]
    fn a_body_rule_is_judged_on_a_whole_body_only() {
        let success = Success { body_contains: Some("ok=1".into()), ..Success::default() };
        assert_eq!(answer(200).verdict(&success), Verdict::Delivered);
        let excludes = Success { body_excludes: Some("ok=1".into()), ..Success::default() };
        assert_eq!(answer(200).verdict(&excludes), retry(Cause::Rule));
        let mut cut = answer(200);
        if let Ok(response) = &mut cut.result {
            response.body_failed = Some(Failure::Reset("cut".into()));
        }
        assert_eq!(cut.verdict(&success), retry(Cause::Reset));
        assert_eq!(cut.verdict(&Success::default()), Verdict::Delivered);
    }

    #[test]
    fn what_brought_no_answer_is_retried_but_for_a_blocked_address() {
        let check =
            |failure, expect| assert_eq!(failed(failure).verdict(&Success::default()), expect);
        check(Failure::Blocked(String::new()), Verdict::Dead(Cause::Blocked));
        check(Failure::Dns(String::new()), retry(Cause::Dns));
        check(Failure::Connect(String::new()), retry(Cause::Connect));
        check(Failure::Tls(String::new()), retry(Cause::Tls));
        check(Failure::Timeout(String::new()), retry(Cause::Timeout));
        check(Failure::Reset(String::new()), retry(Cause::Reset));
        check(Failure::Protocol(String::new()), retry(Cause::Protocol));
    }

    #[test]
    fn the_schedule_has_one_attempt_more_than_waits() {
        let waits = [5, 30].map(Duration::from_secs);
        let day = Duration::from_secs(86_400);
        let check = |attempts, jitter, left, expect| {
            assert_eq!(retry(Cause::Timeout).next(attempts, &waits, jitter, left), expect);
        };
        check(1, 0.0, day, Next::Retry(Duration::from_secs(5)));
        check(2, 1.0, day, Next::Retry(Duration::from_secs(36)));
        check(2, -1.0, day, Next::Retry(Duration::from_secs(24)));
        check(3, 0.0, day, Next::Dead(Cause::Timeout));
        check(1, 0.0, Duration::from_secs(4), Next::Dead(Cause::Expired));
    }

    #[test]
    fn a_longer_retry_after_is_followed_up_to_an_hour() {
        let wish = |seconds| {
            let mut outcome = answer(503);
            if let Ok(response) = &mut outcome.result {
                response.retry_after = Some(Duration::from_secs(seconds));
            }
            let waits = [Duration::from_secs(5)];
            outcome.verdict(&Success::default()).next(1, &waits, 0.0, Duration::from_secs(86_400))
        };
        assert_eq!(wish(1), Next::Retry(Duration::from_secs(5)));
        assert_eq!(wish(60), Next::Retry(Duration::from_secs(60)));
        assert_eq!(wish(999_999), Next::Retry(MAX_RETRY_AFTER));
    }

    #[test]
    fn causes_keep_their_numbers() {
        for (number, (cause, name)) in (0..).zip(Cause::NAMES) {
            assert_eq!((cause as u8, cause.name()), (number, name));
            assert_eq!(Cause::from_number(number), Some(cause));
        }
    }
}
