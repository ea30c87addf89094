//! How to deliver: the policy of a request as it is stored with each batch, its defaults and its bounds.
//!
//! How durations, sizes and rates are written is in `policy/units.rs`. Carrying a policy out is deliver's.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

mod units;

pub use self::units::{
    DurationError, RateError, SizeError, parse_duration, parse_rate, parse_size,
};

/// The waits before the second and each further attempt: seven entries make eight attempts in about nine hours.
pub const DEFAULT_RETRIES: [Duration; 7] = [
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_secs(2 * 60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(30 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(6 * 3600),
];
/// From the first byte out to the last byte in.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a row may wait for its delivery.
pub const DEFAULT_EXPIRES_IN: Duration = Duration::from_secs(24 * 3600);

/// The most retries.
pub const MAX_RETRIES: usize = 20;
/// The longest wait before a retry.
pub const MAX_RETRY: Duration = Duration::from_secs(24 * 3600);
/// The longest time-out of one attempt.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest time that a row may wait for its delivery.
pub const MAX_EXPIRES_IN: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest label, in characters.
pub const MAX_LABEL: usize = 64;

/// How a request's rows are delivered. `None`: as the daemon is set.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
pub struct Policy {
    /// `policy.lane`: gives the rows a lane of their own beside the host's.
    pub label: Option<String>,
    /// How long a row may wait for its delivery, in milliseconds.
    pub expires_in_ms: Option<u64>,
    /// The time-out of one attempt, in milliseconds.
    pub timeout_ms: Option<u64>,
    /// The waits before each retry, in milliseconds.
    pub retries_ms: Option<Vec<u64>>,
    /// What counts as delivered.
    pub success: Success,
}

/// What counts as delivered.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// Ranges of statuses, both ends included.
    pub status: Vec<(u16, u16)>,
    /// A text that the body must hold.
    pub body_contains: Option<String>,
    /// A text that the body must not hold.
    pub body_excludes: Option<String>,
}

impl Default for Success {
    /// Every 2xx, whatever the body.
    fn default() -> Success {
        Success { status: vec![(200, 299)], body_contains: None, body_excludes: None }
    }
}

impl Success {
    /// Whether this status is success.
    pub fn status_ok(&self, status: u16) -> bool {
        self.status.iter().any(|(first, last)| (*first..=*last).contains(&status))
    }

    /// Whether the body has a say.
    pub fn has_body_rule(&self) -> bool {
        self.body_contains.is_some() || self.body_excludes.is_some()
    }

    /// Whether a body, which need not be UTF-8, satisfies the rules.
    pub fn body_ok(&self, body: &[u8]) -> bool {
        // A rule is UTF-8 itself: it can only be found within a part that is.
        let holds = |rule: &String| body.utf8_chunks().any(|chunk| chunk.valid().contains(rule));
        self.body_contains.as_ref().is_none_or(holds)
            && !self.body_excludes.as_ref().is_some_and(holds)
    }
}

/// Why a text is no label of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a lane's label must be 1 to {MAX_LABEL} characters of A-Z, a-z, 0-9, `_`, `.` and `-`")]
pub struct LabelError;

/// Checks the label of a lane.
///
/// # Errors
/// When it is empty, longer than [`MAX_LABEL`], or holds another character than letters, digits, `_`, `.` and `-`.
pub fn check_label(label: &str) -> Result<(), LabelError> {
    let fits = (1..=MAX_LABEL).contains(&label.len());
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if fits && label.bytes().all(plain) { Ok(()) } else { Err(LabelError) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn success(contains: Option<&str>, excludes: Option<&str>) -> Success {
        Success {
            body_contains: contains.map(Into::into),
            body_excludes: excludes.map(Into::into),
            ..Success::default()
        }
    }

    #[test]
    fn without_a_rule_every_2xx_is_success_whatever_the_body() {
        let policy = Policy::default();
        let taken: Vec<u16> = (100..600).filter(|s| policy.success.status_ok(*s)).collect();
        assert_eq!(taken, (200..300).collect::<Vec<_>>());
        assert!(!policy.success.has_body_rule());
        assert!(policy.success.body_ok(b"success=false"));
    }

    #[test]
    fn a_status_counts_when_any_range_holds_it_ends_included() {
        let success = Success { status: vec![(200, 200), (404, 410)], ..Success::default() };
        let taken: Vec<u16> = (100..600).filter(|s| success.status_ok(*s)).collect();
        assert_eq!(taken, [200, 404, 405, 406, 407, 408, 409, 410]);
    }

    #[test]
    fn a_body_must_hold_what_it_contains_and_not_what_it_excludes() {
        let check = |contains, excludes, body: &[u8], expect: bool| {
            let success = success(contains, excludes);
            assert!(success.has_body_rule());
            assert_eq!(success.body_ok(body), expect, "{contains:?} {excludes:?} {body:?}");
        };
        check(Some("ok"), None, b"it is ok", true);
        check(Some("ok"), None, b"OK", false);
        check(Some("ok"), None, b"", false);
        check(None, Some("false"), b"", true);
        check(None, Some("false"), b"success=false", false);
        check(Some("success"), Some("false"), b"success=true", true);
        check(Some("success"), Some("false"), b"success=false", false);
        check(Some("ok"), None, b"\xff\xc3ok\xfe", true);
        check(Some("é"), None, b"\xa9\xc3\xa9", true);
        check(Some("\u{fffd}"), None, b"\xff", false);
    }

    #[test]
    fn a_label_is_1_to_64_plain_characters() {
        let check = |label: &str, expect: bool| {
            assert_eq!(check_label(label).is_ok(), expect, "{label:?}");
        };
        check("bulk", true);
        check("A-z_0.9", true);
        check(&"x".repeat(64), true);
        check(&"x".repeat(65), false);
        for label in ["", " ", "a b", "a/b", "é", "a\n", "a:b"] {
            check(label, false);
        }
    }

    #[test]
    fn a_policy_comes_back_from_its_stored_form() {
        let policy = Policy {
            label: Some("bulk".into()),
            expires_in_ms: Some(1),
            timeout_ms: None,
            retries_ms: Some(vec![5_000, 0]),
            success: success(Some("ok"), None),
        };
        let bytes = postcard::to_allocvec(&policy).unwrap();
        assert_eq!(postcard::from_bytes::<Policy>(&bytes).unwrap(), policy);
    }

    #[test]
    fn the_defaults_keep_within_the_bounds() {
        assert!(DEFAULT_RETRIES.len() <= MAX_RETRIES);
        assert!(DEFAULT_RETRIES.iter().all(|wait| *wait <= MAX_RETRY));
        assert!(DEFAULT_TIMEOUT <= MAX_TIMEOUT && DEFAULT_EXPIRES_IN <= MAX_EXPIRES_IN);
    }
}
