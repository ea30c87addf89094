//! Taking batches and handing their rows to lanes.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    rc::Rc,
    time::Duration,
};

use postback_core::{
    attempt::Cause,
    batch::Batch,
    id::BatchId,
    queue::{LaneChange, QueueError, Reserve, Reserved, RowState, RowStates, State},
    redis::RedisFailure,
};
use tokio::time::{sleep, timeout};

use super::{Held, Item, Worker};
use crate::{attempt, lane::Lane};

/// The most batches of one reserve.
const BATCHES: usize = 200;
/// Polls back off from the first to the second.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);
/// A busy worker asks at least so often, to see that the fleet is paused.
const LOOK: Duration = Duration::from_millis(500);

/// What a reserve brought.
struct Brought {
    /// Whether any batch came.
    any: bool,
    /// How long until something becomes due.
    next: Option<Duration>,
}

impl Worker {
    pub(super) async fn reserve_loop(self: Rc<Self>) {
        let mut pause = SHORTEST;
        while !self.process.stopping.get() {
            if self.adopt.take() {
                self.adopt_unknown().await;
            }
            let rows = self.room();
            let wait = if self.may_send() {
                let brought = self.reserve(rows).await;
                pause = if brought.any { SHORTEST } else { (2 * pause).min(LONGEST) };
                match (brought, rows) {
                    (Brought { any: true, .. }, _) => continue,
                    (_, 0) => LOOK,
                    (Brought { next, .. }, _) => next.map_or(pause, |next| pause.min(next)),
                }
            } else {
                LOOK
            };
            if timeout(wait, self.hungry.notified()).await.is_ok() || self.woken.get() {
                pause = SHORTEST;
            }
            self.woken.set(false);
        }
    }

    /// How many rows to ask for. With 0 a reserve only tells whether the fleet is paused.
    fn room(&self) -> usize {
        let waiting = self.alone.get() && !self.held.borrow().is_empty();
        if self.is_loaded() {
            let lanes: Vec<_> = self.lanes.borrow().values().cloned().collect();
            lanes.iter().filter(|lane| lane.is_full(self)).for_each(|lane| self.give_back(lane));
        }
        if waiting || self.is_loaded() || self.queued.get() > self.buffer() / 2 {
            return 0;
        }
        self.buffer() - self.queued.get()
    }

    async fn reserve(self: &Rc<Self>, rows: usize) -> Brought {
        let full: Vec<_> = {
            let lanes = self.lanes.borrow();
            lanes.values().filter(|lane| lane.is_full(self)).map(|lane| lane.id).collect()
        };
        let name = self.name.borrow().clone();
        let held = self.held.borrow().len();
        let of_lane = self.lane_limit();
        let ask = Reserve { worker: &name, rows, batches: BATCHES, held, of_lane, full: &full };
        let session = self.session.get();
        self.reserving.set(true);
        let got = self.taking.reserve(&ask).await;
        self.reserving.set(false);
        if matches!(got, Err(QueueError::Redis(RedisFailure::Lost(_)))) {
            self.adopt.set(true);
        }
        let Some(got) = self.note(got) else {
            return Brought { any: false, next: Some(LONGEST) };
        };
        self.set_clock(got.now_ms);
        if rows > 0 {
            self.alone.set(got.status == "alone");
        }
        // What waits for an empty worker does not wait for the rows that are not sent yet.
        if got.status == "paused" || (got.status == "alone" && got.batches.is_empty()) {
            self.give_back_all();
        }
        if session != self.session.get() {
            return Brought { any: false, next: None };
        }
        let any = !got.batches.is_empty();
        for batch in got.batches {
            self.take_on(batch);
        }
        let wait = |at: u64| Duration::from_millis(at.saturating_sub(got.now_ms).max(1));
        Brought { any, next: got.next_ms.map(wait) }
    }

    /// Holds a batch and hands out those of its rows whose time has come.
    fn take_on(self: &Rc<Self>, reserved: Reserved) {
        let (batch, states) = match (Batch::decode(&reserved.bytes), &reserved.states) {
            (Ok(batch), Some(states)) => (batch, states.clone()),
            (Err(error), _) => return self.bury(reserved, &error.to_string()),
            (_, None) => return self.bury(reserved, "its rows' states are damaged"),
        };
        let lane = self.lane_of(reserved.id, &batch);
        self.held_bytes.set(self.held_bytes.get() + batch.size());
        let held = Rc::new(Held {
            id: reserved.id,
            batch,
            stored_at_ms: reserved.stored_at_ms,
            states: RefCell::new(states),
            probe: reserved.probe,
            answered: Cell::new(false),
            // One more than there are rows, so that a batch without a due row leaves by the same door.
            open: Cell::new(1),
            touched: Cell::new(false),
            listed: Cell::new(false),
            session: self.session.get(),
        });
        self.held.borrow_mut().insert(held.id, held.clone());
        if lane.breaker.is_parked() && !held.probe && !self.unsettled.concerns(lane.id) {
            lane.breaker.open(); // another process's probe was answered
        }
        for row in self.due_rows(&held) {
            held.open.set(held.open.get() + 1);
            self.process.metrics.reserved.inc();
            lane.push(self, Item { held: held.clone(), row });
        }
        let parked = lane.breaker.is_parked() && !held.probe;
        self.close(&Item { held, row: 0 }, false);
        if parked || self.process.stopping.get() {
            self.give_back(&lane);
        } else {
            lane.pump(self);
        }
    }

    /// The rows whose time has come. Of a probe one, unless the batch's time is over: then all, none of which is sent.
    fn due_rows(&self, held: &Held) -> Vec<u16> {
        let now = self.now_ms();
        let one = held.probe && !attempt::time_left(self, held, now).is_zero();
        let is_due = |row: &RowState| matches!(row.state, State::Pending(at) if at <= now);
        let states = held.states.borrow();
        let due = (0..).zip(&states.rows).filter(|(_, row)| is_due(row)).map(|(n, _)| n);
        due.take(if one { 1 } else { usize::MAX }).collect()
    }

    fn lane_of(&self, id: BatchId, batch: &Batch) -> Rc<Lane> {
        let new = || Lane::new(id.lane(), batch.endpoint.origin().clone());
        self.lanes.borrow_mut().entry(id.lane()).or_insert_with(new).clone()
    }

    /// A batch that cannot be read is dead, and the worker lives.
    fn bury(&self, reserved: Reserved, why: &str) {
        let (id, rows) = (reserved.id, reserved.rows);
        log::error!("batch {id}: {why}; its rows are dead, cause undecodable");
        let mut states = reserved.states.unwrap_or_else(|| RowStates::new(rows));
        for row in states.rows.iter_mut().filter(|row| row.is_pending()) {
            row.state = State::Dead(Cause::Undecodable);
        }
        if reserved.probe {
            self.unsettled.change(LaneChange::Reprobe(id.lane()));
        }
        self.unsettled.bury(id, states);
    }

    /// After a lost answer: takes on what Redis has as held by this worker and the worker never saw.
    async fn adopt_unknown(self: &Rc<Self>) {
        let mut known: HashSet<BatchId> = self.held.borrow().keys().copied().collect();
        known.extend(self.unsettled.ids());
        let (name, session) = (self.name.borrow().clone(), self.session.get());
        let Some(all) = self.note(self.taking.held(&name).await) else {
            self.adopt.set(true);
            return;
        };
        for batch in all.into_iter().filter(|batch| !known.contains(&batch.id)) {
            if session == self.session.get() {
                log::warn!("batch {}: reserved, but the answer was lost; taken on now", batch.id);
                self.take_on(batch);
            }
        }
    }

    /// Listens for rows coming into an empty queue.
    pub(super) async fn wakeup_loop(self: Rc<Self>) {
        loop {
            if let Ok(mut wakeups) = self.queue.wakeups().await {
                while wakeups.next().await.is_ok() {
                    self.woken.set(true);
                    self.hungry.notify_one();
                }
            }
            sleep(LONGEST).await;
        }
    }
}
