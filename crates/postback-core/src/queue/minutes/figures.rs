//! What one minute, or several, have counted and seen. Pure.

use std::time::Duration;

use crate::figures::{ACCEPT_TO_DELIVERED, Class, Histogram, RESPONSE, RETRIED};

/// What was counted in a time, and what was seen of the queue.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Rows stored.
    pub accepted: u64,
    /// Rows delivered.
    pub delivered: u64,
    /// Rows that died.
    pub dead: u64,
    /// Rows that were dropped from the dead letters.
    pub dropped: u64,
    /// Attempts that are to be made again.
    pub retried: u64,
    /// Attempts of each class, in the order of [`Class::NAMES`], and rows whose time was over before one.
    pub classes: [u64; Class::NAMES.len()],
    /// From stored to delivered.
    pub accept_to_delivered: Histogram,
    /// From the first byte out to the last byte of the answer in, or to the failure.
    pub response: Histogram,
    /// What was seen of the queue, if anyone looked; the most of a step.
    pub samples: Option<Samples>,
}

/// What was seen of the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Samples {
    /// Rows that waited.
    pub backlog: u64,
    /// How long the oldest of them had waited.
    pub oldest: Duration,
    /// Rows in the dead letters.
    pub dead_rows: u64,
    /// Requests in flight.
    pub in_flight: u64,
}

impl Figures {
    /// Attempts made.
    pub fn attempts(&self) -> u64 {
        self.classes.iter().sum::<u64>() - self.classes[Class::Expired as usize]
    }

    /// Attempts that delivered nothing.
    pub fn failed(&self) -> u64 {
        self.attempts().saturating_sub(self.accept_to_delivered.count())
    }

    /// Of another time: counters are added, of what was seen the most is kept.
    pub fn merge(&mut self, other: &Figures) {
        self.add(other);
        if let Some(other) = other.samples {
            let samples = self.samples.get_or_insert_default();
            samples.backlog = samples.backlog.max(other.backlog);
            samples.oldest = samples.oldest.max(other.oldest);
            samples.dead_rows = samples.dead_rows.max(other.dead_rows);
            samples.in_flight = samples.in_flight.max(other.in_flight);
        }
    }

    /// Of another shard: all is added but the age.
    pub(super) fn join(&mut self, other: &Figures) {
        self.add(other);
        if let Some(other) = other.samples {
            let samples = self.samples.get_or_insert_default();
            samples.backlog += other.backlog;
            samples.oldest = samples.oldest.max(other.oldest);
            samples.dead_rows += other.dead_rows;
            samples.in_flight += other.in_flight;
        }
    }

    fn add(&mut self, other: &Figures) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.dead += other.dead;
        self.dropped += other.dropped;
        self.retried += other.retried;
        for (n, more) in self.classes.iter_mut().zip(other.classes) {
            *n += more;
        }
        self.accept_to_delivered.merge(&other.accept_to_delivered);
        self.response.merge(&other.response);
    }

    /// The fields of `minute:<n>`. Those that are not known are of a newer version.
    pub(super) fn read(fields: &[(String, i64)]) -> Figures {
        let mut figures = Figures::default();
        for (field, n) in fields {
            let n = u64::try_from(*n).unwrap_or_default();
            let samples = || Samples::default();
            match field.as_str() {
                "accepted" => figures.accepted = n,
                "delivered" => figures.delivered = n,
                "dead" => figures.dead = n,
                "dropped" => figures.dropped = n,
                RETRIED => figures.retried = n,
                "backlog" => figures.samples.get_or_insert_with(samples).backlog = n,
                "oldest_ms" => {
                    figures.samples.get_or_insert_with(samples).oldest = Duration::from_millis(n);
                }
                "dead_rows" => figures.samples.get_or_insert_with(samples).dead_rows = n,
                "in_flight" => figures.samples.get_or_insert_with(samples).in_flight = n,
                other => figures.read_attempts(other, n),
            }
        }
        figures
    }

    fn read_attempts(&mut self, field: &str, n: u64) {
        let bucket = |letter| field.strip_prefix(letter).and_then(|bucket| bucket.parse().ok());
        if let Some(place) = Class::NAMES.iter().position(|(_, name)| *name == field) {
            self.classes[place] = n;
        } else if let Some(bucket) = bucket(ACCEPT_TO_DELIVERED) {
            self.accept_to_delivered.add_bucket(bucket, n);
        } else if let Some(bucket) = bucket(RESPONSE) {
            self.response.add_bucket(bucket, n);
        }
    }
}

/// Of several minutes together.
pub(super) fn merged(minutes: &[Figures]) -> Figures {
    let mut figures = Figures::default();
    minutes.iter().for_each(|minute| figures.merge(minute));
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_s_fields_are_read_and_others_passed_over() {
        let fields = [
            ("accepted", 5),
            ("2xx", 3),
            ("timeout", 1),
            ("expired", 9),
            ("retried", 1),
            ("a0", 3),
            ("r8", 4),
            ("r", 7),
            ("newer", 7),
            ("dead", -1),
            ("oldest_ms", 1500),
        ];
        let figures = Figures::read(&fields.map(|(field, n)| (field.to_owned(), n)));
        assert_eq!((figures.accepted, figures.retried, figures.dead), (5, 1, 0));
        assert_eq!((figures.attempts(), figures.failed()), (4, 1));
        assert_eq!(figures.response.buckets().collect::<Vec<_>>(), [(8, 4)]);
        let samples = Samples { oldest: Duration::from_millis(1500), ..Samples::default() };
        assert_eq!(figures.samples, Some(samples));
        assert_eq!(Figures::read(&[]).samples, None, "a gap is no zero");
    }

    #[test]
    fn times_keep_the_most_that_was_seen_and_shards_add_up() {
        let seen = |backlog, seconds| Figures {
            samples: Some(Samples {
                backlog,
                oldest: Duration::from_secs(seconds),
                ..Samples::default()
            }),
            ..Figures::default()
        };
        let check = |add: fn(&mut Figures, &Figures), backlog| {
            let mut figures = seen(3, 10);
            add(&mut figures, &seen(5, 2));
            add(&mut figures, &Figures::default());
            assert_eq!(figures, seen(backlog, 10));
        };
        check(Figures::merge, 5);
        check(Figures::join, 8);
    }
}
