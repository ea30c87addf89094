//! The pace of a limited lane: Redis grants it slots, and each row takes one.
//!
//! Slots lie on a grid one percent wider than the rate asks (`queue/reserve.lua`). A slot may be used a little late, and
//! those behind it keep their times as long as no second gets too full. Pure: time is an argument, milliseconds since
//! 1970 by Redis's clock.

use std::collections::VecDeque;

use postback_core::queue::Slots;

/// A slot not used within this time is lost; `reserve.lua` starts another worker's slots so much later, less the one
/// percent.
const MOST_LATE_MS: f64 = 50.0;
/// The times of so many sends are kept. A faster rate is held over the shorter time that these take.
const MOST_SENT: f64 = 1000.0;

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
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    next_ms: f64,
    every_ms: f64,
    left: u32,
    end_ms: f64,
    ask_ms: f64,
    /// When the last rows were sent, as many as may be sent in `window_ms`.
    sent: VecDeque<f64>,
    most: usize,
    window_ms: f64,
}

impl Pace {
    /// Takes a slot, if one has come.
    pub(crate) fn take(&mut self, now_ms: f64) -> Turn {
        while self.left > 0 && now_ms > self.next_ms + MOST_LATE_MS {
            self.step();
        }
        if self.left == 0 {
            return Turn::Ask(self.ask_ms);
        }
        let full = self.sent.len() >= self.most;
        let free_ms = self.sent.front().filter(|_| full).map_or(0.0, |sent| sent + self.window_ms);
        if now_ms < self.next_ms.max(free_ms) {
            return Turn::At(self.next_ms.max(free_ms));
        }
        self.step();
        if full {
            self.sent.pop_front();
        }
        self.sent.push_back(now_ms);
        Turn::Now
    }

    fn step(&mut self) {
        self.left -= 1;
        self.next_ms += self.every_ms;
    }

    /// When slots may be asked for, if none is left.
    pub(crate) fn asks_at(&self, now_ms: f64) -> Option<f64> {
        let last_ms = self.end_ms - self.every_ms;
        (self.left == 0 || now_ms > last_ms + MOST_LATE_MS).then_some(self.ask_ms)
    }

    /// Where the slots that were granted last end; 0: there were none.
    pub(crate) fn end_ms(&self) -> f64 {
        self.end_ms
    }

    /// Takes in what Redis granted, or when to ask again.
    pub(crate) fn grant(&mut self, slots: Slots) {
        if slots.count == 0 {
            (self.left, self.ask_ms) = (0, slots.from_ms);
            return;
        }
        self.every_ms = slots.every_ms;
        self.left = slots.count;
        self.next_ms = slots.from_ms;
        self.end_ms = slots.from_ms + f64::from(slots.count) * slots.every_ms;
        self.ask_ms = 0.0;
        let rate = 1010.0 / slots.every_ms;
        let most = rate.ceil().clamp(1.0, MOST_SENT);
        self.most = most as usize;
        self.window_ms = 1000.0 * most / rate;
        while self.sent.len() > self.most {
            self.sent.pop_front();
        }
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
mod tests;
