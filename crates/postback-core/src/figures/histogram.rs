//! Times counted in log-spaced buckets, so that minutes and shards can be added up and a percentile is right to 9.1 %.

use std::{collections::BTreeMap, time::Duration};

/// Buckets an octave: each bound is 2^(1/4) times the one below.
const AN_OCTAVE: f64 = 4.0;
/// The last bucket: what takes a week and more (a week is 2^39.14 µs).
const LAST: u8 = 157;

/// How often times fell into each bucket. Bucket 0 holds up to 1 µs, bucket n more than 2^((n-1)/4) and up to
/// 2^(n/4) µs, the last one all that is longer than its lower bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram(BTreeMap<u8, u64>);

impl Histogram {
    /// Counts a time.
    pub fn add(&mut self, time: Duration) {
        self.add_bucket(bucket_of(time), 1);
    }

    /// Adds so many to a bucket; a number beyond the last counts for the last.
    pub fn add_bucket(&mut self, bucket: u8, n: u64) {
        *self.0.entry(bucket.min(LAST)).or_default() += n;
    }

    /// Adds another's counts.
    pub fn merge(&mut self, other: &Histogram) {
        for (bucket, n) in other.buckets() {
            self.add_bucket(bucket, n);
        }
    }

    /// The buckets that are not empty, the shortest times first.
    pub fn buckets(&self) -> impl Iterator<Item = (u8, u64)> {
        self.0.iter().map(|(bucket, n)| (*bucket, *n))
    }

    /// How many times were counted.
    pub fn count(&self) -> u64 {
        self.0.values().sum()
    }

    /// The time that so many hundredths of the times do not exceed, right to 9.1 % (half a bucket, 2^(1/8)) between
    /// 1 µs and a week; `None` when there are none.
    pub fn percentile(&self, hundredths: f64) -> Option<Duration> {
        let wanted = (self.count() as f64 * hundredths / 100.0).ceil().max(1.0) as u64;
        let mut seen = 0;
        let found = self.buckets().find(|(_, n)| {
            seen += n;
            seen >= wanted
        });
        found.map(|(bucket, _)| middle_of(bucket))
    }
}

fn bucket_of(time: Duration) -> u8 {
    let micros = time.as_nanos() as f64 / 1000.0;
    (micros.max(1.0).log2() * AN_OCTAVE).ceil().min(f64::from(LAST)) as u8
}

/// The geometric middle: as far from one bound as from the other, in hundredths.
fn middle_of(bucket: u8) -> Duration {
    let micros = ((f64::from(bucket) - 0.5).max(0.0) / AN_OCTAVE).exp2();
    Duration::from_nanos((micros * 1000.0) as u64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WEEK_US: u64 = 7 * 24 * 3600 * 1_000_000;

    fn histogram(micros: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        micros.iter().for_each(|us| histogram.add(Duration::from_micros(*us)));
        histogram
    }

    fn error(found: Duration, truth: u64) -> f64 {
        (found.as_nanos() as f64 / 1000.0 / truth as f64 - 1.0).abs()
    }

    #[test]
    fn the_ends_have_buckets_of_their_own() {
        assert_eq!(bucket_of(Duration::ZERO), 0);
        assert_eq!(bucket_of(Duration::from_micros(1)), 0);
        assert_eq!(bucket_of(Duration::from_micros(2)), 4);
        assert_eq!(bucket_of(Duration::from_micros(WEEK_US)), LAST);
        assert_eq!(bucket_of(Duration::MAX), LAST);
        assert_eq!(histogram(&[]).percentile(50.0), None);
    }

    proptest! {
        #[test]
        fn a_percentile_is_right_to_a_tenth(
            mut times in prop::collection::vec(0_u64..=39, 1..200).prop_flat_map(|octaves| {
                octaves.into_iter().map(|n| (1_u64 << n)..(2_u64 << n).min(WEEK_US)).collect::<Vec<_>>()
            }),
            hundredths in 0.0..=100.0,
        ) {
            let found = histogram(&times).percentile(hundredths).expect("there are times");
            times.sort_unstable();
            let rank = (times.len() as f64 * hundredths / 100.0).ceil().max(1.0) as usize;
            let error = error(found, times[rank - 1]);
            prop_assert!(error <= 0.0911, "{found:?} for {} µs: {error}", times[rank - 1]);
        }

        #[test]
        fn parts_add_up_to_the_whole(a in prop::collection::vec(0..WEEK_US, 0..50), b in prop::collection::vec(0..WEEK_US, 0..50)) {
            let mut sum = histogram(&a);
            sum.merge(&histogram(&b));
            prop_assert_eq!(sum.count(), (a.len() + b.len()) as u64);
            prop_assert_eq!(sum, histogram(&[a, b].concat()));
        }
    }
}
