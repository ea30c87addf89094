//! The figures of the minutes, read: those of an hour, of eight or of 48, added up over all shards into steps.
//!
//! What was counted and is missing is zero; what was sampled and is missing is a gap.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use serde::{Deserialize, Serialize};

use super::{Queue, QueueError, Shard};
use crate::{
    figures::{ACCEPT_TO_DELIVERED, Class, Histogram, RESPONSE, RETRIED},
    health::{Health, Nginx},
};

/// Minutes read in one write, so that Redis serves others between.
const AT_ONCE: usize = 240;
/// Boxes that are told of; of more those that come first by name.
const BOXES: usize = 64;
const MINUTE_MS: u64 = 60_000;

/// Which time is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Span {
    /// An hour, by the minute.
    #[default]
    #[serde(rename = "1h")]
    Hour,
    /// Eight hours, by five minutes.
    #[serde(rename = "8h")]
    EightHours,
    /// 48 hours, by the half hour.
    #[serde(rename = "48h")]
    TwoDays,
}

impl Span {
    /// Every span with its name.
    pub const NAMES: [(Span, &'static str); 3] =
        [(Span::Hour, "1h"), (Span::EightHours, "8h"), (Span::TwoDays, "48h")];

    /// How many steps it has, and how many minutes a step.
    pub fn steps(self) -> (usize, usize) {
        match self {
            Span::Hour => (60, 1),
            Span::EightHours => (96, 5),
            Span::TwoDays => (96, 30),
        }
    }
}

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

/// A part of the time that is looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// When it begins, milliseconds since 1970, Redis's time.
    pub at_ms: u64,
    /// How long it is; the last one ends now.
    pub time: Duration,
    /// Its figures.
    pub figures: Figures,
}

/// How a box was.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxFigures {
    /// Its name.
    pub name: String,
    /// When it was last seen, milliseconds since 1970, Redis's time.
    pub seen_ms: u64,
    /// How it was then.
    pub latest: Option<Health>,
    /// Its nginx's connections at the last look.
    pub nginx: Option<Nginx>,
    /// The mean of each step, and the most connections of its nginx.
    pub steps: Vec<(Option<Health>, Option<Nginx>)>,
}

/// The figures of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Minutes {
    /// Until when: Redis's time, milliseconds since 1970.
    pub now_ms: u64,
    /// The steps, the oldest first; the last holds the minute that is under way.
    pub steps: Vec<Step>,
    /// The last whole minute and the one under way.
    pub recent: Step,
    /// The boxes, by name.
    pub boxes: Vec<BoxFigures>,
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
    fn join(&mut self, other: &Figures) {
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
    fn read(fields: &[(String, i64)]) -> Figures {
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

/// What each box told in one minute: when (milliseconds since 1970), and how it was.
type Told = BTreeMap<String, (u64, Option<Health>, Option<Nginx>)>;

impl Queue {
    /// The figures of a span until now.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn minutes(&self, span: Span) -> Result<Minutes, QueueError> {
        let (steps, of_step) = span.steps();
        let now_ms = self.shards()[0].now_ms().await?;
        let end = now_ms / MINUTE_MS + 1;
        let range = end.saturating_sub((steps * of_step) as u64)..end;
        let mut minutes = vec![Figures::default(); (range.end - range.start) as usize];
        for shard in self.shards() {
            let figures = shard.figures(&range).await?;
            minutes.iter_mut().zip(&figures).for_each(|(minute, shard)| minute.join(shard));
        }
        let told = self.shards()[0].health(&range).await?;
        let step = |first: u64, minutes: &[Figures]| {
            let mut figures = Figures::default();
            minutes.iter().for_each(|minute| figures.merge(minute));
            let at_ms = first * MINUTE_MS;
            let end_ms = now_ms.min(at_ms + minutes.len() as u64 * MINUTE_MS);
            Step { at_ms, time: Duration::from_millis(end_ms - at_ms), figures }
        };
        let recent = &minutes[minutes.len().saturating_sub(2)..];
        Ok(Minutes {
            now_ms,
            steps: (range.start..)
                .step_by(of_step)
                .zip(minutes.chunks(of_step))
                .map(|(first, minutes)| step(first, minutes))
                .collect(),
            recent: step(end - recent.len() as u64, recent),
            boxes: boxes(&told, of_step),
        })
    }
}

impl Shard {
    async fn figures(&self, range: &Range<u64>) -> Result<Vec<Figures>, QueueError> {
        let hashes = self.hashes::<i64>("minute:", range).await?;
        Ok(hashes.iter().map(|fields| Figures::read(fields)).collect())
    }

    async fn health(&self, range: &Range<u64>) -> Result<Vec<Told>, QueueError> {
        let hashes = self.hashes::<String>("health:", range).await?;
        Ok(range.clone().zip(&hashes).map(|(minute, fields)| told(minute, fields)).collect())
    }

    async fn hashes<T: redis::FromRedisValue>(
        &self,
        name: &str,
        range: &Range<u64>,
    ) -> Result<Vec<Vec<(String, T)>>, QueueError> {
        let mut hashes = Vec::with_capacity((range.end - range.start) as usize);
        for first in range.clone().step_by(AT_ONCE) {
            let mut ask = redis::pipe();
            for minute in first..range.end.min(first + AT_ONCE as u64) {
                ask.cmd("HGETALL").arg(self.key(&format!("{name}{minute}")));
            }
            hashes.extend(self.link.run_all::<Vec<_>>(&ask).await?);
        }
        Ok(hashes)
    }
}

/// The fields of `health:<n>`: `<box>` and `<box>/nginx`, each with the second at which it was told.
fn told(minute: u64, fields: &[(String, String)]) -> Told {
    let mut all = Told::new();
    for (field, text) in fields {
        let Some((second, text)) = text.split_once(' ') else { continue };
        let (name, is_nginx) =
            field.strip_suffix("/nginx").map_or((&field[..], false), |n| (n, true));
        let (seen_ms, health, nginx) = all.entry(name.to_owned()).or_default();
        *seen_ms = (*seen_ms).max(minute * MINUTE_MS + second.parse().unwrap_or(0) * 1000);
        match is_nginx {
            true => *nginx = Nginx::decode(text),
            false => *health = Health::decode(text),
        }
    }
    all
}

fn boxes(told: &[Told], of_step: usize) -> Vec<BoxFigures> {
    let names: std::collections::BTreeSet<&String> = told.iter().flat_map(BTreeMap::keys).collect();
    let figures = |name: &String| {
        let step = |minutes: &[Told]| {
            let told = || minutes.iter().filter_map(|minute| minute.get(name));
            let health: Vec<Health> = told().filter_map(|told| told.1).collect();
            let nginx: Vec<Nginx> = told().filter_map(|told| told.2).collect();
            (Health::mean(&health), Nginx::fullest(&nginx))
        };
        let (seen_ms, latest, nginx) =
            told.iter().rev().find_map(|minute| minute.get(name)).copied().unwrap_or_default();
        let steps = told.chunks(of_step).map(step).collect();
        BoxFigures { name: name.clone(), seen_ms, latest, nginx, steps }
    };
    names.into_iter().take(BOXES).map(figures).collect()
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

    #[test]
    fn a_box_s_steps_have_gaps_where_it_was_not_seen() {
        let health = Health { cpu: 0.5, cores: 2, ..Health::default() }.encode();
        let minute = |n, fields: &[(&str, String)]| {
            told(n, &fields.iter().map(|(f, t)| ((*f).to_owned(), t.clone())).collect::<Vec<_>>())
        };
        let told = [
            minute(0, &[("a", format!("7 {health}")), ("a/nginx", "3 4 1 2 1".into())]),
            minute(1, &[("b", format!("59 {health}")), ("c", "x".into())]),
            minute(2, &[]),
        ];
        let boxes = boxes(&told, 1);
        assert_eq!(boxes.iter().map(|b| &b.name[..]).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((boxes[0].seen_ms, boxes[1].seen_ms), (7000, 119_000));
        assert_eq!(boxes[0].nginx.map(|nginx| nginx.active), Some(4));
        let seen: Vec<bool> = boxes[0].steps.iter().map(|(health, _)| health.is_some()).collect();
        assert_eq!(seen, [true, false, false]);
    }
}
