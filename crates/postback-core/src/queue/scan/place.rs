//! A place in the log, named by a cursor that a URL may hold.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A place between two records of the log, newest first over all shards: entries by id, where two have the same by
/// shard, the higher first; and in an entry the last record first.
///
/// Entries never change and only come in at the top and go at the bottom, so what is named stays where it is. Its text
/// is for a URL: letters, digits, `-` and `.`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The entry that was read last.
    pub(super) entry: EntryId,
    pub(super) shard: u16,
    /// How many of its records were given; [`Place::WHOLE`]: all.
    pub(super) given: u32,
}

/// The id that Redis gave an entry: its time in milliseconds since 1970, and a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct EntryId {
    pub(super) ms: u64,
    pub(super) seq: u64,
}

/// The text is not a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is no cursor: take `next` of the page before")]
pub struct PlaceError;

impl Place {
    /// Stands for all records of an entry, however many they are.
    pub(super) const WHOLE: u32 = u32::MAX;

    /// When the entry that was read last was written, milliseconds since 1970, Redis's time.
    pub fn ms(&self) -> u64 {
        self.entry.ms
    }

    /// The newest entry of a shard that may hold records behind this place: at or (false) before this id.
    pub(super) fn newest(&self, shard: u16) -> (EntryId, bool) {
        let is_given = shard > self.shard || (shard == self.shard && self.given == Place::WHOLE);
        (self.entry, !is_given)
    }

    /// How many records of an entry are before this place.
    pub(super) fn given(&self, shard: u16, entry: EntryId) -> usize {
        if shard == self.shard && entry == self.entry { self.given as usize } else { 0 }
    }
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}

impl FromStr for EntryId {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<EntryId, PlaceError> {
        let (ms, seq) = text.split_once('-').ok_or(PlaceError)?;
        Ok(EntryId { ms: number(ms)?, seq: number(seq)? })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.", self.entry, self.shard)?;
        if self.given == Place::WHOLE { f.write_str("all") } else { write!(f, "{}", self.given) }
    }
}

impl FromStr for Place {
    type Err = PlaceError;

    fn from_str(text: &str) -> Result<Place, PlaceError> {
        let mut parts = text.splitn(3, '.');
        let mut part = || parts.next().ok_or(PlaceError);
        let (entry, shard): (EntryId, _) = (part()?.parse()?, number(part()?)?);
        if entry == (EntryId { ms: 0, seq: 0 }) {
            return Err(PlaceError); // No entry has it, and Redis knows nothing before it.
        }
        let given = match part()? {
            "all" => Place::WHOLE,
            given => number(given)?,
        };
        Ok(Place { entry, shard, given })
    }
}

/// Digits alone: Rust would take `+1` too.
fn number<T: FromStr>(text: &str) -> Result<T, PlaceError> {
    let digits = Some(text).filter(|text| text.bytes().all(|b| b.is_ascii_digit()));
    digits.and_then(|text| text.parse().ok()).ok_or(PlaceError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_from_its_text_and_needs_no_escapes_in_a_url() {
        for given in [0, 17, Place::WHOLE] {
            let entry = EntryId { ms: 1_772_290_800_000, seq: u64::MAX };
            let place = Place { entry, shard: 15, given };
            let text = place.to_string();
            assert_eq!(text.parse(), Ok(place));
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.".contains(&b)));
        }
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        for text in [
            "",
            "1",
            "1-1",
            "1-1.0",
            "1-1.0.",
            "1-1.0.x",
            "+1-1.0.0",
            "1-1.70000.0",
            "1-1.0.0.0",
            "-.0.0",
            "0-0.0.all",
        ] {
            assert_eq!(text.parse::<Place>(), Err(PlaceError), "{text}");
        }
    }
}
