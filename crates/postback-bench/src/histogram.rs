//! How often waits of which length were seen, in memory that does not grow with their number.
//!
//! Below 128 µs each length is counted by itself; above, each power of two is cut into 64 equal parts, so that a
//! percentile is at most 1.6 % too high. A percentile is the nearest rank, as in `isolation/measure.rs`.

use std::time::Duration;

/// Bits of a length that are kept below its highest.
const BITS: u32 = 6;
/// The longest wait told apart from longer ones: 2^32 µs, 71 minutes.
const LONGEST: u64 = u32::MAX as u64;

/// Waits in microseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    /// Counts a wait.
    pub(crate) fn add(&mut self, us: u64) {
        let part = part(us.min(LONGEST));
        if self.counts.len() <= part {
            self.counts.resize(part + 1, 0);
        }
        self.counts[part] += 1;
        self.count += 1;
        self.max = self.max.max(us);
    }

    /// So many waits were counted.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// The longest wait in microseconds, exactly; `None` without any.
    pub(crate) fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The microseconds within which so many thousandths of the waits were over; `None` without any.
    pub(crate) fn per_mille(&self, mille: u64) -> Option<u64> {
        let rank = (self.count * mille).div_ceil(1000).max(1);
        let mut seen = 0;
        let part = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        })?;
        Some(last_of(part).min(self.max))
    }

    /// p50, p99, p99.9 and the longest in milliseconds, as part of a line.
    pub(crate) fn millis(&self) -> String {
        let millis =
            |us: Option<u64>| Duration::from_micros(us.unwrap_or(0)).as_secs_f64() * 1000.0;
        format!(
            "p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            millis(self.per_mille(500)),
            millis(self.per_mille(990)),
            millis(self.per_mille(999)),
            millis(self.max()),
        )
    }
}

/// The part in which a wait is counted.
fn part(us: u64) -> usize {
    let shift = us.checked_ilog2().unwrap_or(0).saturating_sub(BITS);
    // The highest bit that is kept carries over into the number of the power.
    (u64::from(shift << BITS) + (us >> shift)) as usize
}

/// The longest wait that is counted in a part.
fn last_of(part: usize) -> u64 {
    let part = part as u64;
    let shift = (part >> BITS).saturating_sub(1);
    (((part - (shift << BITS)) + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_follow_each_other_and_are_narrow() {
        let mut next = 0;
        for number in 0..=part(LONGEST) {
            let last = last_of(number);
            assert_eq!((part(next), part(last)), (number, number));
            assert!((last - next) * 64 <= next, "{next} to {last}");
            next = last + 1;
        }
        assert_eq!(next, LONGEST + 1);
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let mut hundred = Histogram::default();
        (1..=100).rev().for_each(|us| hundred.add(us));
        let parts = [0, 500, 501, 990, 999, 1000].map(|mille| hundred.per_mille(mille));
        assert_eq!(parts, [1, 50, 51, 99, 100, 100].map(Some));
        assert_eq!((hundred.count(), hundred.max()), (100, Some(100)));
    }

    #[test]
    fn without_waits_there_is_no_percentile() {
        let none = Histogram::default();
        assert_eq!((none.per_mille(500), none.max(), none.count()), (None, None, 0));
        assert_eq!(none.millis(), "p50 0.00 ms, p99 0.00 ms, p99.9 0.00 ms, max 0.00 ms");
    }

    #[test]
    fn a_percentile_is_never_above_the_longest_and_memory_is_bounded() {
        let mut waits = Histogram::default();
        waits.add(1_000_001);
        assert_eq!(waits.per_mille(999), Some(1_000_001));
        waits.add(u64::MAX);
        assert_eq!(waits.max(), Some(u64::MAX));
        assert!(waits.counts.len() < 2000);
    }
}
