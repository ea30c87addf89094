//! Redis's time, as far as its replies tell it.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// A reply that took longer than this does not tell the time: no question to Redis waits longer than 0.9 s.
const STALE: Duration = Duration::from_secs(1);

/// Redis's time (milliseconds since 1970) at an instant of ours; none before the first reply.
#[derive(Default)]
pub(super) struct Clock(Cell<Option<(Instant, u64)>>);

impl Clock {
    /// The time at an instant of ours; 0 before the first reply.
    pub(super) fn ms_at(&self, instant: Instant) -> u64 {
        self.0.get().map_or(0, |(at, ms)| ms + instant.duration_since(at).as_millis() as u64)
    }

    fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// The same with parts of a millisecond.
    pub(super) fn now_exact_ms(&self) -> f64 {
        self.0.get().map_or(0.0, |(at, ms)| ms as f64 + at.elapsed().as_secs_f64() * 1000.0)
    }

    /// Takes the time from a reply to a question sent at this instant. What lay about for long is no news: this process
    /// stood still.
    pub(super) fn set(&self, sent: Instant, told_ms: u64) {
        let took = sent.elapsed();
        let believed = self.0.get().is_some().then(|| self.now_ms());
        if believed.is_none() || took < STALE {
            let right = believed.map_or(told_ms, |believed| nearest(believed, told_ms, took));
            if believed != Some(right) {
                self.0.set(Some((Instant::now(), right)));
            }
        }
    }
}

/// When in the time that a reply took Redis looked at its clock is not known: what is believed stays as far as it can be
/// true. A slow reply would put the clock back by all that it took, and retries would come early.
fn nearest(believed_ms: u64, told_ms: u64, took: Duration) -> u64 {
    believed_ms.clamp(told_ms, told_ms + took.as_millis() as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_reply_tells_the_time_and_a_stale_one_does_not() {
        let (clock, now) = (Clock::default(), Instant::now());
        let Some(long_ago) = now.checked_sub(2 * STALE) else { return };
        assert_eq!(clock.now_ms(), 0);
        clock.set(long_ago, 5000);
        clock.set(long_ago, 900_000);
        assert!((5000..900_000).contains(&clock.now_ms()), "{}", clock.now_ms());
        clock.set(now, 900_000);
        assert!(clock.now_ms() >= 900_000);
    }

    #[test]
    fn a_slow_reply_leaves_what_may_be_true() {
        let check = |believed, told, took, expect| {
            let took = Duration::from_millis(took);
            assert_eq!(nearest(believed, told, took), expect, "{believed} {told} {took:?}");
        };
        check(1000, 1000, 0, 1000);
        check(1001, 1000, 0, 1001);
        check(1240, 1000, 240, 1240);
        // Too slow, and too fast.
        check(990, 1000, 240, 1000);
        check(1300, 1000, 240, 1241);
    }
}
