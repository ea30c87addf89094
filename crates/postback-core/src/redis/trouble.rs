//! When to tell that Redis is in trouble: one line when it begins, one for each new reason, one when it is over.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Trouble is over when nothing has failed for so long: one connection may find Redis well while another does not
/// yet, and a full Redis takes now and then a small request.
const STEADY: Duration = Duration::from_secs(2);
/// More reasons than this are not told in one trouble.
const MOST_KINDS: usize = 8;
/// What any answer disproves; of other kinds, such as `OOM`, a read tells nothing.
const UNREACHABLE: [&str; 4] = ["away", "LOADING", "NOAUTH", "WRONGPASS"];

/// What one process knows of Redis's state, from all its connections.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<Option<Bad>>);

#[derive(Debug)]
struct Bad {
    since: Instant,
    last: Instant,
    /// Every reason told so far; the latest failure's last.
    kinds: Vec<String>,
}

impl Trouble {
    /// Notes a failure; `kind` as of [`crate::queue::QueueError::kind`]. True: tell it.
    pub fn failed(&self, kind: &str, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = state.get_or_insert_with(|| Bad { since: now, last: now, kinds: vec![] });
        bad.last = now;
        if let Some(at) = bad.kinds.iter().position(|known| known == kind) {
            bad.kinds[at..].rotate_left(1);
            return false;
        }
        let is_told = bad.kinds.len() < MOST_KINDS;
        if is_told {
            bad.kinds.push(kind.to_owned());
        }
        is_told
    }

    /// Notes that Redis did what may fail in every way. Some: tell that it is over, after so long.
    pub fn well(&self, now: Instant) -> Option<Duration> {
        self.end(now, |_| true)
    }

    /// Notes that Redis answered a question, which a Redis that takes no writes does too.
    pub fn answered(&self, now: Instant) -> Option<Duration> {
        self.end(now, |kind| UNREACHABLE.contains(&kind))
    }

    fn end(&self, now: Instant, disproved: impl Fn(&str) -> bool) -> Option<Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bad = state.as_ref()?;
        let latest = bad.kinds.last().map_or("", String::as_str);
        if now.saturating_duration_since(bad.last) < STEADY || !disproved(latest) {
            return None;
        }
        let lasted = bad.last.saturating_duration_since(bad.since);
        *state = None;
        Some(lasted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is told, from steps of seconds and `+`, `?` (an answer) or a kind.
    fn check(steps: &[(u64, &str)], told: &[&str]) {
        let (trouble, start) = (Trouble::default(), Instant::now());
        let mut lines = vec![];
        for (at, step) in steps {
            let now = start + Duration::from_secs(*at);
            match *step {
                "+" => lines.extend(trouble.well(now).map(|_| "+")),
                "?" => lines.extend(trouble.answered(now).map(|_| "+")),
                kind => lines.extend(trouble.failed(kind, now).then_some(kind)),
            }
        }
        assert_eq!(lines, told, "{steps:?}");
    }

    #[test]
    fn each_change_is_told_once() {
        check(&[(0, "+"), (1, "?")], &[]);
        check(&[(0, "away"), (1, "away"), (9, "away"), (11, "+"), (12, "+")], &["away", "+"]);
        check(
            &[(0, "away"), (1, "LOADING"), (1, "away"), (2, "LOADING"), (9, "+"), (10, "away")],
            &["away", "LOADING", "+", "away"],
        );
    }

    #[test]
    fn one_success_among_failures_is_not_the_end() {
        check(&[(0, "OOM"), (0, "+"), (1, "+"), (1, "OOM"), (2, "+"), (3, "+")], &["OOM", "+"]);
    }

    #[test]
    fn an_answer_disproves_only_that_redis_is_away() {
        check(&[(0, "OOM"), (9, "?")], &["OOM"]);
        check(&[(0, "OOM"), (1, "away"), (9, "?")], &["OOM", "away", "+"]);
        check(&[(0, "away"), (1, "OOM"), (9, "?")], &["away", "OOM"]);
    }

    #[test]
    fn reasons_without_end_are_not_kept() {
        let (trouble, now) = (Trouble::default(), Instant::now());
        let told = (0..1000).filter(|n| trouble.failed(&n.to_string(), now)).count();
        assert_eq!(told, MOST_KINDS);
    }
}
