//! The pace of a limited lane: Redis grants it slots, and each row takes one.
//!
//! Pure: time is an argument, milliseconds since 1970 by Redis's clock.

use postback_core::queue::Slots;

/// A slot used so little late leaves the next where it is. Slots lie one percent further apart than the rate asks
/// (`reserve.lua`), so that no second gets too full by it.
const GRACE_MS: f64 = 8.0;
/// A slot used later than that moves those behind it; one that is still later is lost. Nothing is caught up on.
const MOST_LATE_MS: f64 = 100.0;

/// What a row of a limited lane may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Turn {
    /// Go: the slot is taken.
    Now,
    /// Wait until then.
    At(f64),
    /// Ask Redis for slots; not before then.
    Ask(f64),
}

/// A lane's slots in this process.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pace {
    next_ms: f64,
    every_ms: f64,
    left: u32,
    /// Where the slots that Redis granted end.
    end_ms: f64,
    ask_ms: f64,
}

impl Pace {
    /// Takes a slot, if one has come.
    pub(crate) fn take(&mut self, now_ms: f64) -> Turn {
        let most = (self.every_ms / 2.0).clamp(GRACE_MS, MOST_LATE_MS);
        loop {
            let late = now_ms - self.next_ms;
            if self.left == 0 {
                return Turn::Ask(self.ask_ms);
            }
            if late < 0.0 {
                return Turn::At(self.next_ms);
            }
            if late > GRACE_MS && late <= most {
                self.next_ms = now_ms;
            }
            self.left -= 1;
            self.next_ms += self.every_ms;
            // What was moved beyond the end could meet another worker's slots.
            let fits = (self.end_ms + most - self.next_ms) / self.every_ms;
            self.left = self.left.min(fits.max(0.0) as u32);
            if late <= most {
                return Turn::Now;
            }
        }
    }

    /// Takes in what Redis granted, or when to ask again.
    pub(crate) fn grant(&mut self, slots: Slots) {
        self.every_ms = slots.every_ms;
        self.left = slots.count;
        // `next_ms` is where the slot behind the last one used would be.
        self.next_ms = slots.from_ms.max(self.next_ms.min(slots.from_ms + slots.every_ms));
        self.end_ms = slots.from_ms + f64::from(slots.count) * slots.every_ms;
        self.ask_ms = if slots.count == 0 { slots.from_ms } else { 0.0 };
    }

    /// Gives up the slots that are left: the times of the first and of the one behind the last.
    pub(crate) fn give_up(&mut self) -> Option<(f64, f64)> {
        (std::mem::take(&mut self.left) > 0).then_some((self.next_ms, self.end_ms))
    }

    /// How many rows can be sent soon: those of two seconds, and one at least.
    pub(crate) fn soon(&self) -> usize {
        if self.every_ms > 0.0 { ((2000.0 / self.every_ms) as usize).max(1) } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(from_ms: f64, every_ms: f64, count: u32) -> Pace {
        let mut pace = Pace::default();
        pace.grant(Slots { from_ms, every_ms, count });
        pace
    }

    #[test]
    fn each_row_takes_a_slot_at_its_time() {
        let mut pace = granted(1000.0, 200.0, 2);
        assert_eq!(pace.take(999.0), Turn::At(1000.0));
        assert_eq!(pace.take(1000.0), Turn::Now);
        assert_eq!(pace.take(1000.0), Turn::At(1200.0));
        assert_eq!(pace.take(1205.0), Turn::Now);
        assert_eq!(pace.take(1400.0), Turn::Ask(0.0));
    }

    #[test]
    fn a_missed_slot_is_lost_and_not_caught_up_on() {
        let mut pace = granted(1000.0, 10.0, 100);
        let sent =
            |pace: &mut Pace, now: f64| (0..).take_while(|_| pace.take(now) == Turn::Now).count();
        assert_eq!(sent(&mut pace, 1500.0), 1, "half a second late");
        assert_eq!(sent(&mut pace, 1510.0), 1);
        // Of a slow rate a little later moves the others, still later is lost.
        let mut slow = granted(1000.0, 500.0, 2);
        assert_eq!(slow.take(1090.0), Turn::Now);
        assert_eq!(slow.take(1500.0), Turn::At(1590.0));
        assert_eq!(granted(1000.0, 500.0, 1).take(1101.0), Turn::Ask(0.0));
    }

    #[test]
    fn a_fast_rate_is_kept_by_a_slow_timer() {
        let mut pace = granted(0.0, 1.0, 1000);
        let sent: usize = (0..250)
            .map(|tick| (0..).take_while(|_| pace.take(f64::from(tick) * 4.0) == Turn::Now).count())
            .sum();
        assert!(sent >= 995, "{sent}");
    }

    #[test]
    fn no_second_has_more_sends_than_the_rate_however_late_each_is() {
        let mut rng = fastrand::Rng::with_seed(5);
        for rate in [1.0, 5.0, 37.0, 400.0] {
            let (mut pace, mut now, mut sent) = (Pace::default(), 0.0, Vec::<f64>::new());
            while now < 20_000.0 {
                match pace.take(now) {
                    Turn::Now => sent.push(now),
                    Turn::At(at) => now = at + rng.f64() * 12.0,
                    Turn::Ask(_) => {
                        let every = 1010.0 / rate;
                        let from = now.max(sent.last().map_or(0.0, |last| last + every));
                        pace.grant(Slots {
                            from_ms: from,
                            every_ms: every,
                            count: 2 * rate as u32,
                        });
                    }
                }
            }
            let most =
                sent.iter().map(|t| sent.iter().filter(|s| (*t..t + 1000.0).contains(*s)).count());
            assert!(most.max() <= Some(rate as usize), "{rate}");
            assert!(sent.len() as f64 >= 0.65 * 20.0 * rate, "{rate}: {} sent", sent.len());
        }
    }

    #[test]
    fn unused_slots_are_told_once() {
        let mut pace = granted(1000.0, 200.0, 5);
        pace.take(1000.0);
        assert_eq!(pace.give_up(), Some((1200.0, 2000.0)));
        assert_eq!(pace.give_up(), None);
    }
}
