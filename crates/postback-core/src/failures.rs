//! Failed attempts put together by what went wrong and where: the same trouble is one group, however often it came.
//!
//! Pure: what the log's records tell goes in, a bounded number of groups comes out. Reading the log is `queue`'s.

mod plain;

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher, RandomState},
};

use serde::Serialize;

pub use self::plain::plain;
use crate::{
    attempt::Cause,
    queue::{Record, Recorded},
};

/// So many groups are told apart; what comes beyond is counted together.
pub const MOST_GROUPS: usize = 1000;
/// So many texts are remembered as they came, each with its group.
const KNOWN: usize = 4096;
/// So many postbacks of a group are named.
pub const SAMPLES: usize = 3;

/// Failures of one kind at one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What kind of failure; of a row's death where nothing was sent.
    pub cause: Cause,
    /// What went wrong, with `#` and `…` where texts of the same trouble differ ([`plain`]).
    pub error: String,
    /// Where: `host:port`.
    pub host: String,
    /// Failed attempts.
    pub attempts: u64,
    /// Postbacks that they were made for.
    pub postbacks: u64,
    /// How often one died of it.
    pub deaths: u64,
    /// When the first one began, milliseconds since 1970, Redis's time.
    pub first_ms: u64,
    /// When the last one began.
    pub last_ms: u64,
    /// Ids of the latest postbacks among them.
    pub samples: Vec<String>,
}

/// Failures beyond [`MOST_GROUPS`] groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Others {
    /// Failed attempts.
    pub attempts: u64,
    /// When the last one began, milliseconds since 1970, Redis's time.
    pub last_ms: u64,
}

/// The groups of the records seen so far.
#[derive(Debug, Default)]
pub struct Groups {
    numbers: HashMap<String, usize>,
    groups: Vec<Group>,
    /// Which postbacks a group has had, as hashes of both.
    seen: HashSet<u64>,
    hasher: RandomState,
    others: Others,
    /// The groups of texts as they came.
    known: HashMap<String, usize>,
    /// Where the next keys are put together.
    key: String,
    word_for_word: String,
}

/// What a group is told apart by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// The group's cause.
    pub cause: Cause,
    /// The group's error.
    pub error: String,
}

impl Kind {
    /// What kind of failure a record tells of; `None`: of none.
    #[must_use]
    pub fn of(record: &Record) -> Option<Kind> {
        let mut error = String::new();
        let cause = kind(record, &mut error)?;
        Some(Kind { cause, error })
    }
}

impl Groups {
    /// Takes in a record; one that tells of no failure counts nothing.
    pub fn add(&mut self, record: &Record) {
        let death = match record.then {
            Recorded::Delivered => return,
            Recorded::Retry(_) => u8::MAX,
            Recorded::Dead(cause) => cause as u8,
        };
        // Most failures come again word for word.
        self.word_for_word.clear();
        let error = record.error.as_deref().unwrap_or_default();
        self.word_for_word.extend([error, "\0", &record.host, "\0"]);
        self.word_for_word.extend([char::from(death), char::from(u8::from(record.status > 0))]);
        let known = self.known.get(&self.word_for_word).copied();
        let Some(number) = known.or_else(|| self.number(record)) else {
            self.others.attempts += 1;
            self.others.last_ms = self.others.last_ms.max(record.at_ms);
            return;
        };
        if known.is_none() && self.known.len() < KNOWN {
            self.known.insert(self.word_for_word.clone(), number);
        }
        let is_new = self.seen.insert(self.hasher.hash_one((number, &record.id)));
        self.groups[number].count(record, is_new);
    }

    /// The group of a failure, a new one where there is room for it.
    fn number(&mut self, record: &Record) -> Option<usize> {
        self.key.clear();
        let cause = kind(record, &mut self.key)?;
        let end = self.key.len();
        self.key.extend(["\0", &record.host, "\0", cause.name()]);
        if let Some(number) = self.numbers.get(&self.key) {
            return Some(*number);
        }
        if self.groups.len() == MOST_GROUPS {
            return None;
        }
        let error = self.key[..end].to_owned();
        self.groups.push(Group::new(cause, error, record));
        self.numbers.insert(self.key.clone(), self.groups.len() - 1);
        Some(self.groups.len() - 1)
    }

    /// The groups, those of most attempts first, and what is beyond them.
    #[must_use]
    pub fn into_sorted(mut self) -> (Vec<Group>, Others) {
        self.groups.sort_by(|a, b| {
            (b.attempts, b.last_ms, &a.host, &a.error)
                .cmp(&(a.attempts, a.last_ms, &b.host, &b.error))
        });
        (self.groups, self.others)
    }
}

impl Group {
    fn new(cause: Cause, error: String, record: &Record) -> Group {
        Group {
            cause,
            error,
            host: record.host.clone(),
            attempts: 0,
            postbacks: 0,
            deaths: 0,
            first_ms: record.at_ms,
            last_ms: record.at_ms,
            samples: Vec::new(),
        }
    }

    /// Records come newest first, mostly: the first samples are the latest.
    fn count(&mut self, record: &Record, is_new: bool) {
        self.attempts += 1;
        self.deaths += u64::from(matches!(record.then, Recorded::Dead(_)));
        self.first_ms = self.first_ms.min(record.at_ms);
        self.last_ms = self.last_ms.max(record.at_ms);
        if is_new {
            self.postbacks += 1;
            if self.samples.len() < SAMPLES {
                self.samples.push(record.id.clone());
            }
        }
    }
}

/// The cause that a record's failure is filed under, and its text behind what `into` holds.
///
/// It is the attempt's own trouble, not what the row died of in the end: the attempts of a row that expires are failures
/// of its partner all the same.
fn kind(record: &Record, into: &mut String) -> Option<Cause> {
    let death = match record.then {
        Recorded::Delivered => return None,
        Recorded::Retry(_) => None,
        Recorded::Dead(cause) => Some(cause),
    };
    let Some(error) = &record.error else {
        let cause = death.unwrap_or(Cause::Protocol);
        into.push_str(match cause {
            Cause::Expired => "expired before it could be sent",
            other => other.name(),
        });
        return Some(cause);
    };
    // A status is what tells one trouble from another, not what differs within one.
    if let Some(status) = error.strip_prefix("status ")
        && status.len() <= 3
    {
        into.push_str(error);
        return Some(Cause::Status);
    }
    plain(error, into);
    let named = error.split_once(": ").map(|(name, _)| name);
    let named = Cause::NAMES.iter().find(|(_, name)| Some(*name) == named);
    let answered = || if record.status > 0 { Cause::Rule } else { Cause::Protocol };
    let death = death.filter(|cause| *cause != Cause::Expired);
    Some(named.map(|(cause, _)| *cause).or(death).unwrap_or_else(answered))
}

#[cfg(test)]
mod tests;
