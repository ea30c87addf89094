//! One worker session in one shard: what it holds, and what it may do.
//!
//! `worker/reserve.rs` takes batches and hands their rows to lanes, `worker/settle.rs` reports what became of
//! them, `worker/beat.rs` keeps the lease. A lane's own life is in `lane`.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use postback_core::{
    attempt::{Cause, Next, Outcome},
    batch::Batch,
    id::{BatchId, LaneId},
    queue::{LaneChange, Queue, QueueError, RecordRef, RowStates, Shard, Which},
    redis::RedisFailure,
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep},
};

use crate::{
    lane::{Lane, ROUNDS},
    metrics::Load,
    process::Process,
};

mod beat;
mod clock;
mod records;
mod reserve;
mod settle;
mod trim;

use self::{clock::Clock, settle::Unsettled};

/// How long nothing new is sent after a shortage of descriptors or memory on this box.
const REST: Duration = Duration::from_secs(1);

/// So many bytes of batches are held, about. At this bound busy lanes give back what is unsent, and get no more rows
/// until half of it is gone.
const MAX_HELD_BYTES: usize = 128 * 1024 * 1024;

/// A batch that this worker holds.
pub(crate) struct Held {
    pub(crate) id: BatchId,
    pub(crate) batch: Batch,
    /// Redis's time, milliseconds since 1970.
    pub(crate) stored_at_ms: u64,
    /// When it was taken for these attempts; Redis's time, milliseconds since 1970.
    pub(crate) reserved_at_ms: u64,
    pub(crate) states: RefCell<RowStates>,
    /// The lane is parked, and one row of this batch probes it.
    pub(crate) probe: bool,
    /// Whether the probe has told of the partner.
    pub(crate) answered: Cell<bool>,
    /// Rows queued or in flight. At 0 the batch leaves.
    open: Cell<u32>,
    /// Whether `states` has news for Redis.
    touched: Cell<bool>,
    /// Whether the batch is in the list of those to be settled.
    listed: Cell<bool>,
    /// The session that holds it; another one's batches only go into the log.
    session: u64,
}

/// A row on its way to a connection.
pub(crate) struct Item {
    pub(crate) held: Rc<Held>,
    pub(crate) row: u16,
}

pub(crate) struct Worker {
    pub(crate) process: Rc<Process>,
    /// Told when requests still open must be cut off.
    pub(crate) cut: Notify,
    queue: Queue,
    /// The connection for reserving and the one for settling and beating, so that neither waits for the other.
    taking: Shard,
    telling: Shard,
    name: RefCell<String>,
    session: Cell<u64>,
    held: RefCell<HashMap<BatchId, Rc<Held>>>,
    lanes: RefCell<HashMap<LaneId, Rc<Lane>>>,
    /// Plain bytes of the held batches.
    held_bytes: Cell<usize>,
    loaded: Cell<bool>,
    /// Rows that wait for a slot.
    queued: Cell<usize>,
    /// Told when there is room for rows, or rows may be there.
    hungry: Notify,
    woken: Cell<bool>,
    /// When the first row that this worker has put off becomes due.
    due: Cell<Option<Instant>>,
    /// Held batches must be compared with what Redis has.
    adopt: Cell<bool>,
    /// At the last beat Redis had more than this worker knew of.
    more: Cell<bool>,
    /// It takes no more: the process stops.
    sated: Cell<bool>,
    /// How often the fleet's rates were changed, as far as this worker has heeded it.
    limit_changes: Cell<u64>,
    /// A batch that crashed two workers is held, or waits for this worker to hold nothing.
    alone: Cell<bool>,
    unsettled: Unsettled,
    /// When the last beat that succeeded was sent.
    beat_at: Cell<Option<Instant>>,
    /// Redis's time (milliseconds since 1970) at an instant of ours.
    clock: Clock,
    redis_is_well: Cell<bool>,
    /// This box has run out of something: nothing is sent for a moment.
    resting: Cell<bool>,
    /// Told when a beat must go out at once.
    doubt: Notify,
}

fn new_name() -> String {
    format!("{:016x}", fastrand::u64(..))
}

impl Worker {
    /// A worker of the shard with this number, with connections of its own.
    pub(crate) fn new(
        process: Rc<Process>,
        queue: &Queue,
        shard: usize,
    ) -> Result<Rc<Worker>, QueueError> {
        Ok(Rc::new(Worker {
            process,
            cut: Notify::new(),
            taking: queue.reopen()?.shards()[shard].clone(),
            telling: queue.reopen()?.shards()[shard].clone(),
            queue: queue.clone(),
            name: RefCell::new(new_name()),
            session: Cell::new(0),
            held: RefCell::default(),
            lanes: RefCell::default(),
            held_bytes: Cell::new(0),
            loaded: Cell::new(false),
            queued: Cell::new(0),
            hungry: Notify::new(),
            woken: Cell::new(false),
            due: Cell::new(None),
            adopt: Cell::new(false),
            more: Cell::new(false),
            sated: Cell::new(false),
            limit_changes: Cell::new(0),
            alone: Cell::new(false),
            unsettled: Unsettled::default(),
            beat_at: Cell::new(None),
            clock: Clock::default(),
            redis_is_well: Cell::new(true),
            resting: Cell::new(false),
            doubt: Notify::new(),
        }))
    }

    /// Starts the loops. They end with the process.
    pub(crate) fn start(self: &Rc<Self>) {
        tokio::task::spawn_local(self.clone().beat_loop());
        tokio::task::spawn_local(self.clone().fence_loop());
        tokio::task::spawn_local(self.clone().reserve_loop());
        tokio::task::spawn_local(self.clone().wakeup_loop());
        tokio::task::spawn_local(self.clone().settle_loop());
        tokio::task::spawn_local(self.clone().trim_loop());
    }

    /// Redis's time now, as far as its replies told it; milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.ms_at(Instant::now())
    }

    /// Redis's time at an instant of ours.
    pub(crate) fn ms_at(&self, instant: Instant) -> u64 {
        self.clock.ms_at(instant)
    }

    /// As [`Worker::now_ms`], with parts of a millisecond.
    pub(crate) fn now_exact_ms(&self) -> f64 {
        self.clock.now_exact_ms()
    }

    /// Keeps count of the rows that wait for a slot.
    pub(crate) fn queue_changed(&self, before: usize, after: usize) {
        let (all, half) = (self.queued.get(), self.buffer() / 2);
        self.queued.set(all + after - before);
        if all > half && self.queued.get() <= half {
            self.hungry.notify_one();
        }
    }

    /// A lane has room for rows, or needs slots for them.
    pub(crate) fn ask_for_rows(&self) {
        self.hungry.notify_one();
    }

    /// How many rows of any lane may wait here, about.
    pub(crate) fn lane_limit(&self) -> usize {
        ROUNDS * self.process.config.per_host as usize
    }

    /// How many rows may wait for a slot: what two rounds of requests take.
    fn buffer(&self) -> usize {
        2 * self.process.slots
    }

    /// Whether the held batches took all the memory that they may, and half of it is not free yet.
    pub(crate) fn is_loaded(&self) -> bool {
        self.loaded.get()
    }

    /// Notes what the held batches take now.
    fn hold_bytes(&self, bytes: usize) {
        self.held_bytes.set(bytes);
        if bytes >= MAX_HELD_BYTES {
            self.loaded.set(true);
        } else if bytes <= MAX_HELD_BYTES / 2 && self.loaded.replace(false) {
            self.hungry.notify_one();
        }
    }

    /// Forgets a batch that has left.
    fn let_go(&self, held: &Held) {
        if self.held.borrow_mut().remove(&held.id).is_some() {
            self.hold_bytes(self.held_bytes.get() - held.batch.size());
        }
    }

    /// A row of a held batch is over: sent, or given back.
    pub(crate) fn close(&self, item: &Item, touched: bool) {
        let held = &item.held;
        held.open.set(held.open.get() - 1);
        held.touched.set(held.touched.get() || touched);
        let of_session = held.session == self.session.get();
        if of_session && held.open.get() == 0 && held.probe && !held.answered.get() {
            self.unsettled.change(LaneChange::Reprobe(held.id.lane()));
        }
        let has_news = held.touched.get() || held.open.get() == 0;
        if of_session && has_news && !held.listed.replace(true) {
            self.unsettled.list(held.clone());
        }
    }

    /// A row of a batch that crashed workers is over: it need not be held alone any more.
    pub(crate) fn note_harmless(&self) {
        self.alone.set(false);
        self.hungry.notify_one();
    }

    /// Gives back the rows of a lane that are not sent yet.
    pub(crate) fn give_back(&self, lane: &Lane) {
        if let Some((from, to)) = lane.give_up_slots() {
            self.unsettled.change(LaneChange::Refund(lane.id, from, to));
        }
        for item in lane.take_unsent(self) {
            self.close(&item, false);
        }
    }

    /// Gives back every row that is not sent yet.
    pub(crate) fn give_back_all(&self) {
        let lanes: Vec<_> = self.lanes.borrow().values().cloned().collect();
        for lane in lanes {
            self.give_back(&lane);
        }
    }

    /// Parks a lane in the whole fleet and gives back what is held for it.
    pub(crate) fn park(&self, lane: &Lane, wait: Duration, reason: String) {
        lane.breaker.park();
        log::warn!("{}:{} parked for {wait:?}: {reason}", lane.origin.host, lane.origin.port);
        self.give_back(lane);
        self.unsettled.change(LaneChange::Park(lane.id, wait, reason));
    }

    /// A probe was answered: the lane is served again.
    pub(crate) fn open_lane(&self, lane: &Lane) {
        lane.breaker.open();
        log::info!("{}:{} answers again", lane.origin.host, lane.origin.port);
        self.unsettled.change(LaneChange::Open(lane.id));
    }

    /// Lets every lane go on after something that held them all.
    fn pump_all(self: &Rc<Self>) {
        let lanes: Vec<_> = self.lanes.borrow().values().cloned().collect();
        for lane in lanes {
            lane.pump(self);
        }
    }

    pub(crate) fn forget_if_unused(&self, lane: &Rc<Lane>) {
        if lane.is_unused() {
            self.lanes.borrow_mut().remove(&lane.id);
        }
    }

    /// Sends nothing for a moment: there was a shortage on this box. Rows given back meanwhile may go to others.
    pub(crate) fn rest(self: &Rc<Self>, why: &str) {
        if self.resting.replace(true) {
            return;
        }
        log::error!("no connection could be opened: {why}; sending nothing new for {REST:?}");
        let worker = self.clone();
        tokio::task::spawn_local(async move {
            sleep(REST).await;
            worker.resting.set(false);
            worker.pump_all();
            worker.hungry.notify_one();
        });
    }

    /// Counts an attempt, or a row whose time was over before it, in the minute's figures; its record follows.
    pub(crate) fn count(&self, held: &Held, outcome: Option<&Outcome>, next: Next, now_ms: u64) {
        // Both times are whole milliseconds: what is less than one counts for half of it.
        let waited_ms = now_ms.saturating_sub(held.stored_at_ms);
        let waited = Duration::from_millis(waited_ms).max(Duration::from_micros(500));
        let success = &held.batch.policy.success;
        self.unsettled.count(|tally| match outcome {
            Some(outcome) => tally.attempt(outcome, success, next, waited),
            None if next == Next::Dead(Cause::Expired) => tally.expired(),
            None => {}
        });
    }

    /// Keeps an outcome for the log.
    pub(crate) fn record(&self, record: &RecordRef<'_>) {
        if let Some(deliveries) = &self.process.deliveries {
            deliveries.note(&record.to_record());
        }
        self.unsettled.record(record);
    }

    /// Whether this worker holds nothing that Redis does not know to be free.
    pub(crate) fn is_done(&self) -> bool {
        self.sated.get() && self.held.borrow().is_empty() && self.unsettled.is_empty()
    }

    /// Whether the last exchange with Redis went well.
    fn is_ready(&self) -> bool {
        self.redis_is_well.get() && self.beat_at.get().is_some()
    }

    /// What it has on its hands.
    pub(crate) fn load(&self) -> Load {
        let lanes = self.lanes.borrow();
        Load {
            is_ready: self.is_ready(),
            held_batches: self.held.borrow().len(),
            lanes: lanes.len(),
            parked_lanes: lanes.values().filter(|lane| lane.breaker.is_parked()).count(),
            queued_rows: self.queued.get(),
        }
    }

    /// Gives the lease back at the end; without it the session would be found dead 30 s later.
    pub(crate) async fn retire(&self) {
        let name = self.name.borrow().clone();
        drop(self.telling.beat(&name, Which::Last, &[]).await);
    }

    /// Keeps what came of an exchange with Redis, for the log and for `/readyz`.
    fn note<T>(&self, result: Result<T, QueueError>) -> Option<T> {
        match result {
            Ok(value) => {
                self.redis_is_well.set(true);
                self.process.redis_did();
                Some(value)
            }
            // The next try opens another connection, and tells how Redis is.
            Err(QueueError::Redis(RedisFailure::Closed(_))) => None,
            Err(error) => {
                self.redis_is_well.set(false);
                self.process.redis_failed(&error);
                None
            }
        }
    }
}
