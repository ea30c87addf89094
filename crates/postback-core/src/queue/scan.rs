//! The delivery log read in pages: newest first, all shards as one, from a cursor on.
//!
//! A page ends when it has as many records as were asked for, or when its budget is spent: then it tells how far back
//! it has looked, and the next one goes on from there. Entries are decoded, and a filter asked, beside the event loop in
//! pieces of 1 MiB, while the next piece comes from Redis. An entry that cannot be read is passed over.
//!
//! The cursor is in `scan/place.rs`, what Redis is asked in `scan/entries.rs`, the decoding in `scan/sieve.rs`.

use std::time::{Duration, Instant};

use tokio::task::{JoinError, spawn_blocking};

mod entries;
mod place;
mod sieve;
#[cfg(test)]
mod tests;

pub use self::place::{Place, PlaceError};
use self::{entries::Entries, sieve::Sieve};
use super::{Queue, QueueError, Record};
use crate::{id::LaneId, redis::RedisFailure};

/// Which of the two logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Stream {
    /// Every attempt, and every death without one.
    #[default]
    Log,
    /// What failed alone; goes further back.
    Errors,
}

impl Stream {
    fn key(self) -> &'static str {
        match self {
            Stream::Log => "log",
            Stream::Errors => "errors",
        }
    }
}

/// What a page may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The most records looked at.
    pub records: usize,
    /// The most time; a page takes one entry at least, and what is being read is read to its end.
    pub time: Duration,
}

impl Budget {
    /// To the log's end, whatever it costs.
    pub const NONE: Budget = Budget { records: usize::MAX, time: Duration::MAX };
}

/// What to read.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Of which log.
    pub stream: Stream,
    /// Behind which place; `None`: from the newest record on.
    pub before: Option<Place>,
    /// Only what was settled at this time or later, milliseconds since 1970, Redis's time.
    pub since_ms: Option<u64>,
    /// Only what was settled before this time.
    pub until_ms: Option<u64>,
    /// Only the shard that has this lane.
    pub lane: Option<LaneId>,
    /// Only entries that hold this text somewhere are decoded, which costs a tenth. Their other records are given to the
    /// filter too.
    pub text: Option<String>,
    /// The most records taken, at least 1.
    pub most: usize,
    /// What the page may cost.
    pub budget: Budget,
}

impl Default for Scan {
    /// The newest 50 records.
    fn default() -> Scan {
        Scan {
            stream: Stream::Log,
            before: None,
            since_ms: None,
            until_ms: None,
            lane: None,
            text: None,
            most: 50,
            budget: Budget::NONE,
        }
    }
}

/// A record of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// The record.
    pub record: Record,
    /// When Redis was told, milliseconds since 1970, Redis's time.
    pub settled_ms: u64,
    /// Whether the worker that told had lost its lease: another worker may have tried the same row.
    pub late: bool,
}

/// What a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What was taken, newest first.
    pub found: Vec<T>,
    /// Where to go on; `None`: the log's end was reached, or `since_ms`.
    pub next: Option<Place>,
    /// When the last entry that was looked at was written, milliseconds since 1970, Redis's time; `None`: there was none.
    pub back_to_ms: Option<u64>,
    /// How many records were looked at.
    pub looked_at: usize,
}

impl<T> Page<T> {
    /// Whether the page ended for want of budget, not of records.
    pub fn is_cut_short(&self, scan: &Scan) -> bool {
        self.next.is_some() && self.found.len() < scan.most
    }
}

impl Queue {
    /// A page of the log. `take` is given each record, newest first, and keeps what it makes of it, or `None`. It is
    /// called beside the event loop, never from two threads at once; what it adds up for itself it may share with the
    /// caller by an `Arc<Mutex<…>>` (there every record of the log may be looked at with `most: usize::MAX`).
    ///
    /// Of what was in the log when the first page was asked for nothing is left out, and nothing is given twice, when
    /// the pages are read with the same filter and `before` set to `next` of the page before; but what the log's bound
    /// takes away meanwhile is gone.
    ///
    /// # Errors
    /// When Redis fails.
    ///
    /// # Panics
    /// When `take` does.
    pub async fn scan<T: Send + 'static>(
        &self,
        scan: &Scan,
        take: impl FnMut(Logged) -> Option<T> + Send + 'static,
    ) -> Result<Page<T>, QueueError> {
        let deadline = Instant::now().checked_add(scan.budget.time);
        let mut entries = Entries::new(self, scan);
        let mut sieve = Sieve::new(scan, deadline, take);
        entries.read_on().await?;
        loop {
            let piece = entries.take();
            if piece.is_empty() && entries.is_over() {
                return Ok(sieve.page(None));
            }
            let sifted = spawn_blocking(move || sieve.sift(piece));
            let (sifted, read) = tokio::join!(sifted, entries.read_on());
            let (kept, stopped) = sifted.map_err(broken)?;
            if let Some((place, is_last)) = stopped {
                return Ok(kept.page(Some(place).filter(|_| !is_last || !entries.is_over())));
            }
            read?;
            sieve = kept;
        }
    }
}

/// The runtime is being shut down, or `take` panicked.
fn broken(error: JoinError) -> QueueError {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
    RedisFailure::Unanswered.into()
}
