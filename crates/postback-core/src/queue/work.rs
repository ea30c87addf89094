//! What a worker does: reserve, settle and beat.

use std::{collections::HashSet, time::Duration};

use redis::{FromRedisValue, ParsingError, Value};

use super::{QueueError, RowStates, SCRIPTS, Shard};
use crate::id::{BatchId, LaneId};

/// What every script answers: a word, and Redis's time (milliseconds since 1970); then its own numbers and texts.
#[derive(Debug)]
pub struct Reply {
    /// `ok` or why not.
    pub status: String,
    /// Redis's time, milliseconds since 1970.
    pub now_ms: u64,
    pub(super) rest: Vec<Value>,
}

impl FromRedisValue for Reply {
    fn from_redis_value(value: Value) -> Result<Self, ParsingError> {
        let Value::Array(items) = value else {
            return Err(ParsingError::from(format!("no list but {value:?}")));
        };
        let mut items = items.into_iter();
        let status = String::from_redis_value(items.next().unwrap_or(Value::Nil))?;
        let now_ms = u64::from_redis_value(items.next().unwrap_or(Value::Nil))?;
        Ok(Reply { status, now_ms, rest: items.collect() })
    }
}

/// A limited lane's wish for slots.
#[derive(Debug, Clone, Copy)]
pub struct Want {
    /// The lane.
    pub lane: LaneId,
    /// How many rows wait for a slot.
    pub rows: usize,
    /// Where the worker's last slots of this lane ended, milliseconds since 1970, Redis's time; 0: it had none.
    pub ended_ms: f64,
}

/// What a worker asks for.
#[derive(Debug, Default)]
pub struct Reserve<'a> {
    /// The worker.
    pub worker: &'a str,
    /// About how many rows; the last batch may go beyond.
    pub rows: usize,
    /// At most so many batches, 1 to 200.
    pub batches: usize,
    /// How many batches the worker holds.
    pub held: usize,
    /// About how many rows of a lane that `room` does not name; its last batch may go beyond.
    pub of_lane: usize,
    /// Limited lanes that hold rows without a slot.
    pub wants: &'a [Want],
    /// Only the lanes of `room` are served.
    pub only: bool,
    /// Lanes of which only so many rows are taken, about; 0: none.
    pub room: &'a [(LaneId, usize)],
}

/// A batch that the worker now holds.
#[derive(Debug)]
pub struct Reserved {
    /// The batch.
    pub id: BatchId,
    /// When it was stored, milliseconds since 1970, Redis's time.
    pub stored_at_ms: u64,
    /// The stored form, for [`crate::batch::Batch::decode`].
    pub bytes: Vec<u8>,
    /// The rows' states; `None` when they are damaged.
    pub states: Option<RowStates>,
    /// The row count told by the stored form's fixed start; 1 when it is too short.
    pub rows: u16,
    /// The lane is parked and this batch is its probe: send one row and report.
    pub probe: bool,
    /// The lane has a rate: its rows need slots.
    pub limited: bool,
}

/// Times at which rows of a limited lane may be sent: `count` of them, `every_ms` apart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slots {
    /// The first one's time, or with a count of 0 when to ask again; milliseconds since 1970, Redis's time.
    pub from_ms: f64,
    /// The time from one to the next, milliseconds; 0: the lane has no rate any more.
    pub every_ms: f64,
    /// How many.
    pub count: u32,
}

/// What a reserve brought.
#[derive(Debug)]
pub struct Reservation {
    /// `ok`; `more` (ok, and lanes are left that were not looked at); `rest` (ok, and rows are left in some lanes); `alone` (a batch that crashed two workers waits for one that holds nothing, or is what came); `paused`; `no lease`.
    pub status: String,
    /// Redis's time, milliseconds since 1970.
    pub now_ms: u64,
    /// When something becomes due next, by Redis's time; `None`: nothing waits.
    pub next_ms: Option<u64>,
    /// How often rates were changed so far: what is held may be outdated when this is another number than before.
    pub limit_changes: u64,
    /// The slots for each of [`Reserve::wants`]; empty when nothing is served.
    pub slots: Vec<Slots>,
    /// The batches.
    pub batches: Vec<Reserved>,
}

/// A batch's new states.
#[derive(Debug)]
pub struct SettledBatch {
    /// The batch, held by this worker.
    pub id: BatchId,
    /// How many rows it has.
    pub rows: u16,
    /// None of its rows is in flight: it leaves the worker.
    pub leave: bool,
    /// The states; `None`: as they were.
    pub states: Option<RowStates>,
}

/// What settling tells of a lane.
#[derive(Debug, Clone, PartialEq)]
pub enum LaneChange {
    /// Nobody serves it for so long; then one row probes it.
    Park(LaneId, Duration, String),
    /// It answers again.
    Open(LaneId),
    /// The probe told nothing of the partner: another row may probe at once.
    Reprobe(LaneId),
    /// The lane's slots from the first to the second time (milliseconds since 1970, Redis's) are not used.
    Refund(LaneId, f64, f64),
}

impl LaneChange {
    /// The lane that changes.
    pub fn lane(&self) -> LaneId {
        match self {
            LaneChange::Park(lane, ..)
            | LaneChange::Open(lane)
            | LaneChange::Reprobe(lane)
            | LaneChange::Refund(lane, ..) => *lane,
        }
    }
}

/// One settle.
#[derive(Debug, Default)]
pub struct Settle {
    /// Counts up from 1 in each worker session; repeated with the same content until it is answered.
    pub number: u64,
    /// The batches.
    pub batches: Vec<SettledBatch>,
    /// The lanes.
    pub lanes: Vec<LaneChange>,
    /// An entry for the delivery log ([`super::encode_log`]); empty: none.
    pub log: Vec<u8>,
    /// An entry for the failures' log; empty: none.
    pub errors: Vec<u8>,
    /// Further counters, of the minute and of the totals.
    pub counts: Vec<(&'static str, u64)>,
    /// Counters of the minute alone.
    pub buckets: Vec<(String, u64)>,
}

/// Which of a worker's beats this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The session begins.
    First,
    /// It goes on.
    Next,
    /// It ends: a worker that holds nothing gives its lease back.
    Last,
}

impl Which {
    fn as_str(self) -> &'static str {
        match self {
            Which::First => "first",
            Which::Next => "next",
            Which::Last => "last",
        }
    }
}

/// What a beat brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beat {
    /// The lease holds.
    Alive {
        /// Redis's time, milliseconds since 1970.
        now_ms: u64,
        /// Batches that Redis has as held by this worker.
        held: usize,
        /// Batches taken back from dead workers by this beat.
        taken: usize,
    },
    /// The lease was taken over or wiped: start a new session.
    Lost,
}

impl Shard {
    /// Takes batches.
    ///
    /// # Errors
    /// When Redis fails; after a lost answer the worker may hold more than it knows.
    pub async fn reserve(&self, ask: &Reserve<'_>) -> Result<Reservation, QueueError> {
        let reply: Reply = self
            .script(&SCRIPTS.reserve, |c| {
                c.arg(ask.worker).arg(ask.rows).arg(ask.batches).arg(ask.held).arg(ask.of_lane);
                c.arg(u8::from(ask.only)).arg(ask.wants.len());
                for want in ask.wants {
                    c.arg(want.lane.as_str()).arg(want.rows).arg(format!("{:.3}", want.ended_ms));
                }
                for (lane, rows) in ask.room {
                    c.arg(lane.as_str()).arg(*rows);
                }
            })
            .await?;
        let mut rest = reply.rest.into_iter();
        let next = u64::from_redis_value(rest.next().unwrap_or(Value::Int(0))).map_err(bad)?;
        let mut part = || rest.next().unwrap_or(Value::Nil);
        let limit_changes = u64::from_redis_value(part()).map_err(bad)?;
        let slots = Vec::<String>::from_redis_value(part()).map_err(bad)?;
        let slots = slots.iter().map(|text| read_slots(text)).collect::<Result<_, _>>()?;
        let mut batches = Vec::with_capacity(rest.len() / 4);
        while let Some(id) = rest.next() {
            let mut part = || rest.next().unwrap_or(Value::Nil);
            let (batch, states, kind) = (part(), part(), part());
            let id = String::from_redis_value(id).map_err(bad)?;
            let id = id.parse().map_err(|_| QueueError::Answer(format!("the batch id `{id}`")))?;
            let states = Vec::from_redis_value(states).map_err(bad)?;
            let stored = Vec::from_redis_value(batch).map_err(bad)?;
            let (probe, limited) = (kind == Value::Int(1), kind == Value::Int(2));
            batches.push(Reserved { probe, limited, ..reserved(id, stored, &states) });
        }
        let next_ms = (next > 0).then_some(next);
        let (status, now_ms) = (reply.status, reply.now_ms);
        Ok(Reservation { status, now_ms, next_ms, limit_changes, slots, batches })
    }

    /// Tells what became of rows, batches and lanes. Repeating it with the same number changes nothing.
    /// Returns false when this worker has no lease any more: then only the log took it.
    ///
    /// # Errors
    /// When Redis fails; repeat it then.
    pub async fn settle(&self, worker: &str, settle: &Settle) -> Result<bool, QueueError> {
        let reply: Reply = self
            .script(&SCRIPTS.settle, |c| {
                c.arg(worker).arg(settle.number).arg(&settle.log[..]).arg(&settle.errors[..]);
                c.arg(settle.batches.len());
                for batch in &settle.batches {
                    batch_args(c, batch);
                }
                c.arg(settle.lanes.len());
                for change in &settle.lanes {
                    lane_args(c, change);
                }
                c.arg(settle.counts.len());
                for (field, n) in &settle.counts {
                    c.arg(*field).arg(*n);
                }
                c.arg(settle.buckets.len());
                for (field, n) in &settle.buckets {
                    c.arg(field).arg(*n);
                }
            })
            .await?;
        Ok(reply.status != "late")
    }

    /// Renews the worker's lease and takes back what dead workers held.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn beat(
        &self,
        worker: &str,
        which: Which,
        figures: &[(&str, String)],
    ) -> Result<Beat, QueueError> {
        let reply: Reply = self
            .script(&SCRIPTS.beat, |c| {
                c.arg(worker).arg(which.as_str());
                c.arg("version").arg(env!("CARGO_PKG_VERSION"));
                for (field, value) in figures {
                    c.arg(*field).arg(value);
                }
            })
            .await?;
        if reply.status == "lost" {
            return Ok(Beat::Lost);
        }
        let mut rest =
            reply.rest.into_iter().map(|value| usize::from_redis_value(value).map_err(bad));
        let mut number = || rest.next().unwrap_or(Ok(0));
        Ok(Beat::Alive { now_ms: reply.now_ms, held: number()?, taken: number()? })
    }

    /// The batches that this worker holds besides those it knows of, to adopt what a lost answer brought.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn held(
        &self,
        worker: &str,
        known: &HashSet<BatchId>,
    ) -> Result<Vec<Reserved>, QueueError> {
        let key = self.key(&format!("held:{worker}"));
        let ids: Vec<String> = self.link.run(redis::cmd("SMEMBERS").arg(key)).await?;
        let ids = ids.iter().filter_map(|id| id.parse::<BatchId>().ok());
        let mut batches = Vec::new();
        for id in ids.filter(|id| !known.contains(id)) {
            // One at a time: this is rare, and many large batches in one reply would not arrive in time.
            let mut get = redis::pipe();
            get.cmd("GET").arg(self.key(&format!("batch:{id}")));
            get.cmd("GET").arg(self.key(&format!("rows:{id}")));
            get.cmd("HEXISTS").arg(self.key("breakers")).arg(id.lane().as_str());
            get.cmd("HEXISTS").arg(self.key("limits")).arg(id.lane().as_str());
            let (stored, states, probe, limited): (Option<Vec<u8>>, Option<Vec<u8>>, bool, bool) =
                self.link.run_all(&get).await?;
            let Some(stored) = stored else { continue };
            let states = states.unwrap_or_default();
            batches.push(Reserved { probe, limited, ..reserved(id, stored, &states) });
        }
        Ok(batches)
    }
}

/// Takes apart what is stored under a batch's id and its rows' states.
pub(super) fn reserved(id: BatchId, mut stored: Vec<u8>, states: &[u8]) -> Reserved {
    let stored_at_ms = stored.first_chunk().map_or(0, |time| u64::from_be_bytes(*time));
    stored.drain(..stored.len().min(8));
    let rows = stored.get(1..3).map_or(1, |n| u16::from_be_bytes([n[0], n[1]]).max(1));
    let states = RowStates::decode(states, rows);
    Reserved { id, stored_at_ms, bytes: stored, states, rows, probe: false, limited: false }
}

fn read_slots(text: &str) -> Result<Slots, QueueError> {
    let mut parts = text.split(' ');
    let mut number = || parts.next().and_then(|part| part.parse::<f64>().ok());
    match (number(), number(), number()) {
        (Some(from_ms), Some(every_ms), Some(count)) => {
            Ok(Slots { from_ms, every_ms, count: count as u32 })
        }
        _ => Err(QueueError::Answer(format!("the slots `{text}`"))),
    }
}

fn batch_args(c: &mut redis::Cmd, batch: &SettledBatch) {
    let waits = |states: &RowStates| {
        states.rows.iter().any(|row| matches!(row.state, super::State::Waiting(_)))
    };
    let flags = u8::from(batch.leave) + 2 * u8::from(batch.states.as_ref().is_some_and(waits));
    c.arg(batch.id.as_str()).arg(batch.rows).arg(flags);
    c.arg(batch.states.as_ref().map(RowStates::encode).unwrap_or_default());
}

fn lane_args(c: &mut redis::Cmd, change: &LaneChange) {
    match change {
        LaneChange::Park(lane, wait, reason) => {
            c.arg(lane.as_str()).arg("park").arg(wait.as_millis() as u64).arg(reason)
        }
        LaneChange::Open(lane) => c.arg(lane.as_str()).arg("open").arg(0).arg(""),
        LaneChange::Reprobe(lane) => c.arg(lane.as_str()).arg("reprobe").arg(0).arg(""),
        LaneChange::Refund(lane, from, to) => {
            c.arg(lane.as_str()).arg("refund").arg(format!("{to:.3}")).arg(format!("{from:.3}"))
        }
    };
}

pub(super) fn bad(error: ParsingError) -> QueueError {
    QueueError::Answer(error.to_string())
}
