//! What is made of entries once they are read: decoded, sifted, counted against the budget.

use std::time::Instant;

use super::{Logged, Page, Scan, entries::Entry, place::Place};
use crate::{needle::Needle, queue::log::decode_log_with};

/// A page as far as it has come.
pub(super) struct Sieve<T, F> {
    take: F,
    text: Option<Needle>,
    most: usize,
    records: usize,
    deadline: Option<Instant>,
    found: Vec<T>,
    back_to_ms: Option<u64>,
    looked_at: usize,
}

/// Where a page ended, and whether that was the end of what was read.
pub(super) type Stopped = Option<(Place, bool)>;

impl<T, F: FnMut(Logged) -> Option<T>> Sieve<T, F> {
    /// `deadline`: when the budget's time is over, if ever.
    pub(super) fn new(scan: &Scan, deadline: Option<Instant>, take: F) -> Sieve<T, F> {
        Sieve {
            take,
            text: scan.text.as_deref().map(Needle::new),
            most: scan.most.max(1),
            records: scan.budget.records.max(1),
            deadline,
            found: Vec::new(),
            back_to_ms: None,
            looked_at: 0,
        }
    }

    /// Sifts a piece, as far as the page goes.
    pub(super) fn sift(mut self, piece: Vec<Entry>) -> (Self, Stopped) {
        let mut left = piece.len();
        for entry in piece {
            left -= 1;
            if let Some((place, is_last)) = self.sift_entry(entry) {
                return (self, Some((place, is_last && left == 0)));
            }
        }
        (self, None)
    }

    fn sift_entry(&mut self, entry: Entry) -> Stopped {
        let Entry { id, shard, bytes, given, late } = entry;
        let place = |given: usize| Place { entry: id, shard, given: given as u32 };
        self.back_to_ms = Some(id.ms);
        // The last record of an entry is its newest.
        let records = decode_log_with(&bytes, id.ms, self.text.as_ref());
        let mut records = records.into_iter().rev().enumerate().skip(given).peekable();
        while let Some((number, record)) = records.next() {
            self.looked_at += 1;
            self.found.extend((self.take)(Logged { record, settled_ms: id.ms, late }));
            if self.found.len() >= self.most || self.looked_at >= self.records {
                return Some((place(number + 1), records.peek().is_none()));
            }
        }
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        is_late.then_some((Place { entry: id, shard, given: Place::WHOLE }, true))
    }

    pub(super) fn page(self, next: Option<Place>) -> Page<T> {
        let Sieve { found, back_to_ms, looked_at, .. } = self;
        Page { found, next, back_to_ms, looked_at }
    }
}
