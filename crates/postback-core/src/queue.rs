//! The queue in Redis: every key, every script, every transition. Nothing else knows a key.
//!
//! A batch's life. Ingest stores it under its id and appends the id to its lane's list (`ready`), or to `due`
//! when it shall wait. A worker reserves it: the id moves from the list into the worker's `held` set, and the
//! worker sends its rows. Every few milliseconds the worker settles: the rows' states go into `rows:<id>`, the
//! outcomes into the log, and a batch none of whose rows is in flight leaves `held`: deleted when all is
//! delivered, to `due` when rows wait for a retry, back to its lane's head when rows are given back. A row that
//! died is found through `dead` until it is replayed or dropped. A worker that stops beating loses its lease, and
//! another worker's beat takes its batches back, counting a crash on each.
//!
//! With several shards each has its own set of keys, kept together by the hash tag `{s}`; a lane belongs to one
//! shard, and a script touches one. What ingest does is in `queue/enqueue.rs`, what a worker does in
//! `queue/work.rs`, what pages and commands read in `queue/read.rs`, `queue/places.rs` and (the log) `queue/scan.rs`, what
//! an operator changes of rows in `queue/revise.rs` and of lanes in `queue/lanes.rs`.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use redis::Script;
use thiserror::Error;

use crate::{
    id::LaneId,
    redis::{Link, RedisFailure, RedisUrl, Trip, Trips},
};

mod census;
mod enqueue;
mod lanes;
mod log;
mod minutes;
mod newest;
mod notices;
mod places;
mod read;
mod revise;
mod room;
mod rows;
mod sample;
mod scan;
mod search;
mod wakeups;
mod work;

pub use self::{
    census::Census,
    enqueue::{Enqueue, EnqueueError, Enqueued, Once, Stored},
    lanes::LaneInfo,
    log::{LogWriter, Record, RecordRef, Recorded, Sent, decode_log, encode_log},
    minutes::{BoxFigures, Figures, Minutes, PastSteps, Samples, Span, Step},
    newest::Newest,
    notices::Notice,
    places::{DeadBatch, Placed, Waiting},
    read::{Stats, StoredBatch, Totals, WorkerInfo},
    revise::{Revised, Revision, Trimmed},
    room::Room,
    rows::{RowState, RowStates, State},
    scan::{Budget, Logged, Page, Place, PlaceError, Scan, Stream},
    search::{BatchState, Searched},
    wakeups::Wakeups,
    work::{
        Beat, LaneChange, Reply, Reservation, Reserve, Reserved, Settle, SettledBatch, Slots, Want,
        Which,
    },
};

/// How often a worker beats.
pub const BEAT_EVERY: Duration = Duration::from_secs(5);
/// How long a lease lasts from a beat.
pub const LEASE: Duration = Duration::from_secs(30);
/// Rows in a lane parked by a breaker are probed after this long.
pub const PARK: Duration = Duration::from_secs(30);

/// Why the queue did not do what was asked.
#[derive(Debug, Clone, Error)]
pub enum QueueError {
    /// Redis failed.
    #[error(transparent)]
    Redis(#[from] RedisFailure),
    /// Redis answered something that the scripts never answer.
    #[error("redis answered {0}: is another program using its keys?")]
    Answer(String),
    /// The fleet runs with another number of shards.
    #[error(
        "--shards is {asked}, but the fleet at this Redis runs with {kept}: use the same number everywhere"
    )]
    Shards {
        /// This process's number.
        asked: u16,
        /// The number kept in Redis.
        kept: u16,
    },
    /// Redis is set up so that it would lose postbacks.
    #[error("redis at {0} would lose postbacks: {1}")]
    Unsafe(String, String),
    /// There is no room for more.
    #[error("the backlog in redis has reached --max-backlog; room is expected in {} s", .0.wait().as_secs())]
    Full(Room),
    /// There is no room for more in Redis's memory ([`Shard::memory_over`]).
    #[error("OOM is near: redis uses over 95 % of its maxmemory; room is expected in {} s", .0.wait().as_secs())]
    Memory(Room),
    /// The [`Once`]'s key has come with another body.
    #[error("the key was used for another request")]
    OtherBody,
}

impl QueueError {
    /// One word for the reason: Redis's own, such as `OOM`, or one of ours.
    pub fn kind(&self) -> &str {
        match self {
            QueueError::Redis(failure) => failure.kind(),
            QueueError::Answer(_) => "answer",
            QueueError::Shards { .. } => "shards",
            QueueError::Unsafe(..) => "unsafe",
            QueueError::Full(_) => "full",
            // The same trouble as when Redis itself says so.
            QueueError::Memory(_) => "OOM",
            QueueError::OtherBody => "other_body",
        }
    }
}

/// All shards, over one connection.
#[derive(Clone)]
pub struct Queue {
    url: RedisUrl,
    link: Arc<Link>,
    trips: Arc<Trips>,
    shards: Vec<Shard>,
}

/// One shard: a set of keys that one script may touch.
#[derive(Clone)]
pub struct Shard {
    link: Arc<Link>,
    /// `pb:{0}:`
    prefix: Arc<str>,
}

type NamedScript = (Trip, Script);

struct Scripts {
    check: NamedScript,
    enqueue: NamedScript,
    reserve: NamedScript,
    settle: NamedScript,
    beat: NamedScript,
    revise: NamedScript,
    trim: NamedScript,
    pause: NamedScript,
    limit: NamedScript,
    health: NamedScript,
    sample: NamedScript,
}

static SCRIPTS: LazyLock<Scripts> = LazyLock::new(|| {
    let script = |name, own: &str| {
        (name, Script::new(&format!("{}{own}", include_str!("queue/common.lua"))))
    };
    Scripts {
        check: script(Trip::Check, include_str!("queue/check.lua")),
        enqueue: script(Trip::Enqueue, include_str!("queue/enqueue.lua")),
        reserve: script(Trip::Reserve, include_str!("queue/reserve.lua")),
        settle: script(Trip::Settle, include_str!("queue/settle.lua")),
        beat: script(Trip::Beat, include_str!("queue/beat.lua")),
        revise: script(Trip::Revise, include_str!("queue/revise.lua")),
        trim: script(Trip::Trim, include_str!("queue/trim.lua")),
        pause: script(Trip::Pause, include_str!("queue/pause.lua")),
        limit: script(Trip::Limit, include_str!("queue/limit.lua")),
        health: script(Trip::Health, include_str!("queue/health.lua")),
        sample: script(Trip::Sample, include_str!("queue/sample.lua")),
    }
});

impl Queue {
    /// A queue that connects when it is first used; Redis need not be up.
    ///
    /// # Errors
    /// When the URL needs what this build does not have.
    pub fn open(url: &RedisUrl, prefix: &str, shards: u16) -> Result<Queue, QueueError> {
        let trips = Arc::new(Trips::default());
        let link = Arc::new(Link::new(url.clone(), trips.clone())?);
        let shard = |s| Shard { link: link.clone(), prefix: format!("{prefix}:{{{s}}}:").into() };
        let shards = (0..shards.max(1)).map(shard).collect();
        Ok(Queue { url: url.clone(), link, trips, shards })
    }

    /// The same keys over a connection of their own, so that one command does not wait behind another's reply.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub fn reopen(&self) -> Result<Queue, QueueError> {
        let link = Arc::new(Link::new(self.url.clone(), self.trips.clone())?);
        let shards = self
            .shards
            .iter()
            .map(|shard| Shard { link: link.clone(), prefix: shard.prefix.clone() });
        let (url, trips) = (self.url.clone(), self.trips.clone());
        Ok(Queue { url, shards: shards.collect(), link, trips })
    }

    /// What this queue and those reopened from it have asked of Redis.
    pub fn trips(&self) -> &Trips {
        &self.trips
    }

    /// Every shard, in order.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// The shard that holds a lane.
    pub fn shard_of(&self, lane: LaneId) -> &Shard {
        &self.shards[usize::from(lane.shard(self.shards.len() as u16))]
    }

    /// Which connection is open, counted from 1: after a new one Redis may be another. Opens one when there is none.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses.
    pub async fn connection(&self) -> Result<u64, QueueError> {
        Ok(self.link.number().await?)
    }

    /// Whether the fleet runs with this number of shards, as far as it is known yet. With another number rows would be
    /// looked for in the wrong places.
    ///
    /// # Errors
    /// [`QueueError::Shards`], or when Redis fails.
    pub async fn check_shards(&self) -> Result<(), QueueError> {
        let key = self.shards[0].key("clock");
        let kept: Option<u16> = self.link.run(redis::cmd("HGET").arg(key).arg("shards")).await?;
        let asked = self.shards.len() as u16;
        match kept.filter(|kept| *kept != asked) {
            Some(kept) => Err(QueueError::Shards { asked, kept }),
            None => Ok(()),
        }
    }

    /// Whether Redis answers.
    ///
    /// # Errors
    /// When it does not, or refuses (as while loading its data).
    pub async fn ping(&self) -> Result<(), QueueError> {
        Ok(self.link.run::<()>(redis::cmd("EXISTS").arg(self.shards[0].key("clock"))).await?)
    }

    /// Whether this Redis keeps what it is given, and the fleet's number of shards is this process's.
    ///
    /// # Errors
    /// [`QueueError::Unsafe`] and [`QueueError::Shards`] are final; others may pass.
    pub async fn check_server(&self) -> Result<(), QueueError> {
        let mut ask = redis::pipe();
        ask.cmd("CONFIG").arg("GET").arg("maxmemory-policy");
        ask.cmd("CONFIG").arg("GET").arg("appendonly");
        let (policy, aof): ((String, String), (String, String)) = self.link.run_all(&ask).await?;
        let refuse = |text: &str| Err(QueueError::Unsafe(self.url.to_string(), text.into()));
        if policy.1 != "noeviction" {
            return refuse(&format!("maxmemory-policy is {}, set it to noeviction", policy.1));
        }
        if aof.1 != "yes" {
            return refuse("appendonly is off, set it to yes");
        }
        let asked = self.shards.len() as u16;
        let kept: u16 = self.shards[0]
            .script(&SCRIPTS.check, |c| {
                c.arg(asked);
            })
            .await?;
        if kept == asked { Ok(()) } else { Err(QueueError::Shards { asked, kept }) }
    }
}

impl Shard {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn script<T: redis::FromRedisValue>(
        &self,
        script: &NamedScript,
        fill: impl FnOnce(&mut redis::Cmd),
    ) -> Result<T, QueueError> {
        Ok(self.link.script(script, &self.key("clock"), fill).await?)
    }
}
