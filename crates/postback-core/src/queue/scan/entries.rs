//! Entries of the log as they come from Redis: a piece at a time of each shard, merged.

use std::collections::{HashMap, VecDeque};

use futures_util::future::try_join_all;

use super::{
    Scan, Stream,
    place::{EntryId, Place},
};
use crate::{
    queue::{Queue, QueueError, Shard},
    redis::RedisFailure,
};

/// Entries that are asked for first. Later it is as many as had `PIECE` bytes the last time.
const FIRST: usize = 16;
/// The most entries that are asked for at once: Redis is busy with them for less than a millisecond.
const MOST: usize = 512;
/// About so many bytes are asked for at once. An entry has from 200 bytes to a few 100 KiB.
const PIECE: usize = 1024 * 1024;

/// An entry, not yet decoded.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) id: EntryId,
    pub(super) shard: u16,
    pub(super) bytes: Vec<u8>,
    /// How many of its records are not wanted.
    pub(super) given: usize,
    pub(super) late: bool,
}

/// What was read ahead of every shard.
pub(super) struct Entries {
    shards: Vec<Reader>,
    before: Option<Place>,
}

struct Reader {
    shard: Shard,
    number: u16,
    stream: Stream,
    /// The next range's ends, as Redis reads them.
    newest: String,
    oldest: String,
    count: usize,
    ahead: VecDeque<Entry>,
    is_over: bool,
}

impl Entries {
    pub(super) fn new(queue: &Queue, scan: &Scan) -> Entries {
        let only = scan.lane.map(|lane| lane.shard(queue.shards().len() as u16));
        let shards = (0..).zip(queue.shards());
        let shards = shards.filter(|(number, _)| only.is_none_or(|only| only == *number));
        let readers = shards.map(|(number, shard)| Reader {
            shard: shard.clone(),
            number,
            stream: scan.stream,
            newest: newest(scan, number),
            oldest: scan.since_ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string()),
            count: FIRST,
            ahead: VecDeque::new(),
            is_over: false,
        });
        Entries { shards: readers.collect(), before: scan.before }
    }

    /// Reads on where nothing is left, so that [`Entries::take`] has something to give.
    pub(super) async fn read_on(&mut self) -> Result<(), QueueError> {
        let before = self.before;
        let empty = self.shards.iter_mut().filter(|r| r.ahead.is_empty() && !r.is_over);
        try_join_all(empty.map(|reader| reader.read(before))).await?;
        Ok(())
    }

    /// The newest of what was read, in order, about a piece of it; none: the end has been reached.
    pub(super) fn take(&mut self) -> Vec<Entry> {
        let (mut piece, mut bytes) = (Vec::new(), 0);
        // What a shard has behind what was read ahead is not known to be older than another's.
        while bytes < PIECE && self.shards.iter().all(|r| r.is_over || !r.ahead.is_empty()) {
            let newest = self.shards.iter_mut().filter(|reader| !reader.ahead.is_empty());
            let newest = newest.max_by_key(|reader| reader.ahead.front().map(|e| (e.id, e.shard)));
            let Some(entry) = newest.and_then(|reader| reader.ahead.pop_front()) else { break };
            bytes += entry.bytes.len();
            piece.push(entry);
        }
        piece
    }

    /// Whether nothing is left.
    pub(super) fn is_over(&self) -> bool {
        self.shards.iter().all(|reader| reader.is_over && reader.ahead.is_empty())
    }
}

/// Where a shard's first range begins.
fn newest(scan: &Scan, shard: u16) -> String {
    let at = scan.before.map(|place| place.newest(shard));
    match (at, scan.until_ms) {
        // Without its number an id stands for all of its millisecond.
        (Some((id, _)), Some(until)) if id.ms >= until => until.saturating_sub(1).to_string(),
        (None, Some(until)) => until.saturating_sub(1).to_string(),
        (Some((id, true)), _) => id.to_string(),
        (Some((id, false)), _) => format!("({id}"),
        (None, None) => "+".to_owned(),
    }
}

impl Reader {
    async fn read(&mut self, before: Option<Place>) -> Result<(), QueueError> {
        let found = loop {
            match self.ask().await {
                // So much does not come in time over a slow link: less of it may.
                Err(QueueError::Redis(RedisFailure::Lost(_))) if self.count > 1 => {
                    self.count = (self.count / 16).max(1);
                }
                found => break found?,
            }
        };
        self.is_over = found.len() < self.count;
        if let Some((id, _)) = found.last() {
            self.newest = format!("({id}");
        }
        let mut bytes = 0;
        for (id, mut fields) in found {
            let Ok(id) = id.parse::<EntryId>() else { continue };
            let entry = Entry {
                id,
                shard: self.number,
                bytes: fields.remove("d").unwrap_or_default(),
                given: before.map_or(0, |place| place.given(self.number, id)),
                late: fields.contains_key("late"),
            };
            bytes += entry.bytes.len();
            self.ahead.push_back(entry);
        }
        // Four times as many at most: the next ones may be larger.
        let fit = self.count * PIECE / bytes.max(1);
        self.count = fit.clamp(1, (self.count * 4).min(MOST));
        Ok(())
    }

    async fn ask(&self) -> Result<Vec<(String, HashMap<String, Vec<u8>>)>, QueueError> {
        let mut ask = redis::cmd("XREVRANGE");
        ask.arg(self.shard.key(self.stream.key())).arg(&self.newest).arg(&self.oldest);
        Ok(self.shard.link.run(ask.arg("COUNT").arg(self.count)).await?)
    }
}
