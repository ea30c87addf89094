//! Rows chosen by what is known of them, and revised: what `dead list|replay|drop` and `cancel` act on.
//!
//! A selection is made first, so that it can be counted, and is acted on in small steps. What comes in meanwhile is
//! not part of it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};

use crate::{
    attempt::Cause,
    batch::Batch,
    id::{BatchId, LaneId, PostbackId},
    queue::{Placed, Queue, QueueError, Revised, Revision, RowState, Shard, State, StoredBatch},
};

/// Batches read or revised at a time: 1 MiB of them, mostly.
const PAGE: usize = 16;

/// So many entries of lanes' lists are passed over in one call, about: 5 ms of Redis's time.
const DEPTH: usize = 50_000;

/// Which rows; all that is given must hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter {
    /// The request that brought them.
    pub request: Option<String>,
    /// Any of these, each `host:port`.
    pub hosts: Option<Vec<String>>,
    /// The last attempt's HTTP status.
    pub status: Option<u16>,
    /// What they died of.
    pub cause: Option<Cause>,
    /// The caller's own name for them.
    pub reference: Option<String>,
    /// From when on they died, or pending ones were stored; milliseconds since 1970, Redis's time; dead rows know it to
    /// the second.
    pub since_ms: Option<u64>,
    /// Before when.
    pub until_ms: Option<u64>,
}

impl Filter {
    /// The rows of a batch that a revision concerns and the filter accepts. Of a batch that cannot be read only states
    /// and times are known.
    pub fn rows(&self, stored: &StoredBatch, revision: Revision) -> Vec<u16> {
        let Some(states) = &stored.states else { return Vec::new() };
        let mut rows: Vec<u16> = (0..)
            .zip(&states.rows)
            .filter(|(_, row)| revision.concerns(row) && self.accepts_state(row, stored))
            .map(|(number, _)| number)
            .collect();
        if !rows.is_empty() && self.asks_for_content() {
            match Batch::decode(&stored.bytes) {
                Ok(batch) if self.accepts_host(&batch) => {
                    rows.retain(|row| self.accepts_row(&batch, *row));
                }
                _ => rows.clear(),
            }
        }
        rows
    }

    fn accepts_state(&self, row: &RowState, stored: &StoredBatch) -> bool {
        let (cause, at_ms, grain) = match row.state {
            State::Dead(cause) => (Some(cause), row.since_ms, 1000),
            _ => (None, stored.stored_at_ms, 1),
        };
        self.status.is_none_or(|asked| asked == row.status)
            && self.cause.is_none_or(|asked| Some(asked) == cause)
            && self.since_ms.is_none_or(|since| at_ms >= since / grain * grain)
            && self.until_ms.is_none_or(|until| at_ms < until)
    }

    fn asks_for_content(&self) -> bool {
        self.request.is_some() || self.hosts.is_some() || self.reference.is_some()
    }

    fn accepts_host(&self, batch: &Batch) -> bool {
        let host = batch.endpoint.origin().host_port();
        self.hosts.as_ref().is_none_or(|asked| asked.contains(&host))
    }

    fn accepts_row(&self, batch: &Batch, row: u16) -> bool {
        let request = &batch.source(row).request_id;
        self.request.as_ref().is_none_or(|asked| asked == request)
            && self.reference.as_ref().is_none_or(|asked| {
                let reference = batch
                    .row(row)
                    .ok()
                    .and_then(|values| batch.endpoint.fill(&values).ok()?.reference);
                reference.as_ref() == Some(asked)
            })
    }
}

/// Rows found by a filter, to be revised step by step.
#[derive(Debug)]
pub struct Selection {
    filter: Filter,
    revision: Revision,
    left: VecDeque<Found>,
    /// What workers held when it was tried.
    busy: VecDeque<Found>,
    /// How many were found from an end of a lane's list on: they will not be passed over any more.
    nearer: HashMap<(LaneId, bool), usize>,
    /// How many rows were found.
    pub rows: u64,
    /// How many batches they are in.
    pub batches: u64,
    /// How many of the rows workers held at that time.
    pub held: u64,
    /// Whether all was looked through; otherwise there may be more.
    pub is_whole: bool,
}

#[derive(Debug, Clone)]
struct Found {
    shard: usize,
    batch: Placed,
    rows: Vec<u16>,
}

impl Queue {
    /// Finds the rows that a revision concerns and a filter accepts, the oldest dead ones first. `progress` hears how
    /// many batches were looked at.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn select(
        &self,
        revision: Revision,
        filter: Filter,
        mut progress: impl FnMut(usize),
    ) -> Result<Selection, QueueError> {
        let go_on = |seen| {
            progress(seen);
            true
        };
        self.select_while(revision, filter, go_on).await
    }

    /// As [`Queue::select`], as long as `go_on`, told how many batches were looked at, says so: what was found by then
    /// is the selection.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn select_while(
        &self,
        revision: Revision,
        filter: Filter,
        mut go_on: impl FnMut(usize) -> bool,
    ) -> Result<Selection, QueueError> {
        let mut selection = Selection::new(revision, filter);
        let mut seen = 0;
        for (n, shard) in self.shards().iter().enumerate() {
            let (placed, held) = candidates(shard, revision).await?;
            for (all, is_held) in [(placed, false), (held, true)] {
                for page in all.chunks(PAGE) {
                    selection.look(n, shard, page, is_held).await?;
                    seen += page.len();
                    if !go_on(seen) {
                        return Ok(selection);
                    }
                }
            }
        }
        selection.is_whole = true;
        Ok(selection)
    }

    /// Those of these rows that are dead, whatever they died of, to be replayed or dropped.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn select_rows(
        &self,
        revision: Revision,
        ids: impl IntoIterator<Item = PostbackId>,
    ) -> Result<Selection, QueueError> {
        let mut selection = Selection::new(revision, Filter::default());
        let mut asked: BTreeMap<BatchId, BTreeSet<u16>> = BTreeMap::new();
        for id in ids {
            asked.entry(id.batch).or_default().insert(id.row);
        }
        for (n, shard) in self.shards().iter().enumerate() {
            let here = |id: &BatchId| std::ptr::eq(self.shard_of(id.lane()), shard);
            let batches: Vec<_> =
                asked.keys().filter(|id| here(id)).map(|id| anywhere(*id)).collect();
            for page in batches.chunks(PAGE) {
                selection.look_for(n, shard, page, &asked).await?;
            }
        }
        selection.is_whole = true;
        Ok(selection)
    }
}

fn anywhere(id: BatchId) -> Placed {
    Placed { id, depth: 0, from_tail: false }
}

/// The batches that may have rows of this kind: those that nobody holds, and those of workers.
async fn candidates(
    shard: &Shard,
    revision: Revision,
) -> Result<(Vec<Placed>, Vec<Placed>), QueueError> {
    if revision == Revision::Cancel {
        let waiting = shard.waiting().await?;
        return Ok((waiting.placed, waiting.held.into_iter().map(anywhere).collect()));
    }
    // New deaths come in front, and shift the others into the next page once more.
    let (mut dead, mut seen, mut skip) = (Vec::new(), HashSet::new(), 0);
    loop {
        let page = shard.dead(skip).await?;
        if page.is_empty() {
            break;
        }
        skip += page.len();
        let new = page.into_iter().filter(|batch| seen.insert(batch.id));
        dead.extend(new.map(|batch| anywhere(batch.id)));
    }
    dead.reverse();
    Ok((dead, Vec::new()))
}

impl Selection {
    fn new(revision: Revision, filter: Filter) -> Selection {
        Selection {
            filter,
            revision,
            left: VecDeque::new(),
            busy: VecDeque::new(),
            nearer: HashMap::new(),
            rows: 0,
            batches: 0,
            held: 0,
            is_whole: false,
        }
    }

    /// Takes in those of the rows asked for that the revision concerns.
    async fn look_for(
        &mut self,
        number: usize,
        shard: &Shard,
        page: &[Placed],
        asked: &BTreeMap<BatchId, BTreeSet<u16>>,
    ) -> Result<(), QueueError> {
        let ids: Vec<_> = page.iter().map(|batch| batch.id).collect();
        for (stored, _) in shard.batches(&ids).await? {
            let mut rows = self.filter.rows(&stored, self.revision);
            rows.retain(|row| asked.get(&stored.id).is_some_and(|asked| asked.contains(row)));
            if !rows.is_empty() {
                self.rows += rows.len() as u64;
                self.batches += 1;
                self.left.push_back(Found { shard: number, batch: anywhere(stored.id), rows });
            }
        }
        Ok(())
    }

    async fn look(
        &mut self,
        number: usize,
        shard: &Shard,
        page: &[Placed],
        is_held: bool,
    ) -> Result<(), QueueError> {
        let ids: Vec<_> = page.iter().map(|batch| batch.id).collect();
        let found = shard.batches(&ids).await?;
        let mut places = page.iter();
        for (stored, _) in found {
            let rows = self.filter.rows(&stored, self.revision);
            let Some(batch) = places.find(|batch| batch.id == stored.id) else { continue };
            if !rows.is_empty() {
                self.rows += rows.len() as u64;
                self.batches += 1;
                self.held += if is_held { rows.len() as u64 } else { 0 };
                let mut found = Found { shard: number, batch: *batch, rows };
                if batch.depth > 0 {
                    let nearer =
                        self.nearer.entry((stored.id.lane(), batch.from_tail)).or_default();
                    found.batch.depth = batch.depth.saturating_sub(*nearer);
                    *nearer += 1;
                }
                if is_held { self.busy.push_back(found) } else { self.left.push_back(found) }
            }
        }
        Ok(())
    }

    /// Whether all is done but for what workers hold.
    pub fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// How many rows could not be revised because workers hold them.
    pub fn passed_over(&self) -> u64 {
        self.busy.iter().map(|found| found.rows.len() as u64).sum()
    }

    /// Tries what workers held once more.
    pub fn try_again(&mut self) {
        self.left.append(&mut self.busy);
    }

    /// Revises some of what is left, at most so many rows; returns how many were. Each row that was found is revised
    /// once, whatever becomes of it meanwhile.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn step(&mut self, queue: &Queue, most: usize) -> Result<u64, QueueError> {
        let step = self.next(most);
        let Some(first) = step.first() else { return Ok(0) };
        let (filter, revision) = (&self.filter, self.revision);
        let wanted: HashMap<BatchId, &Vec<u16>> =
            step.iter().map(|found| (found.batch.id, &found.rows)).collect();
        let choose = |stored: &StoredBatch| {
            let mut rows = filter.rows(stored, revision);
            rows.retain(|row| wanted[&stored.id].contains(row));
            rows
        };
        let batches: Vec<Placed> = step.iter().map(|found| found.batch).collect();
        let revised = queue.shards()[first.shard].revise(&batches, revision, choose).await;
        let revised = match revised {
            Ok(revised) => revised,
            Err(error) => {
                step.into_iter().rev().for_each(|found| self.left.push_front(found));
                return Err(error);
            }
        };
        let mut changed = 0;
        for (found, revised) in step.into_iter().zip(revised) {
            match revised {
                Revised::Done(rows) => changed += rows as u64,
                Revised::Busy => self.busy.push_back(found),
                Revised::Gone => {}
            }
        }
        Ok(changed)
    }

    /// The batches of one call, of one shard, with at most so many rows; what is left of the last one stays.
    fn next(&mut self, most: usize) -> Vec<Found> {
        let mut step: Vec<Found> = Vec::new();
        let (mut room, mut depth) = (most, 0);
        while let Some(found) = self.left.front_mut() {
            depth += found.batch.depth;
            let fits = step.len() < PAGE
                && depth <= DEPTH
                && step.first().is_none_or(|first| first.shard == found.shard)
                // Parts of one batch that were tried apart.
                && step.iter().all(|other| other.batch.id != found.batch.id);
            if room == 0 || (!fits && !step.is_empty()) {
                break;
            }
            let later = found.rows.split_off(found.rows.len().min(room));
            let rows = std::mem::replace(&mut found.rows, later);
            let now = Found { shard: found.shard, batch: found.batch, rows };
            room -= now.rows.len();
            if found.rows.is_empty() {
                self.left.pop_front();
            }
            step.push(now);
        }
        step
    }
}
