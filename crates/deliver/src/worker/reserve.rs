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
    queue::{Reserve, Reserved, RowState, RowStates, State},
};
use tokio::time::{sleep, timeout};

use super::{Held, Item, Worker};
use crate::lane::Lane;

/// The most batches of one reserve.
const BATCHES: usize = 200;
/// Polls back off from the first to the second.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);
/// A busy worker asks at least so often, to see that the fleet is paused.
const LOOK: Duration = Duration::from_millis(500);

impl Worker {
    pub(super) async fn reserve_loop(self: Rc<Self>) {
        let mut pause = SHORTEST;
        while !self.process.stopping.get() {
            if self.adopt.take() {
                self.adopt_unknown().await;
            }
            let busy = self.queued.get() > self.buffer() / 2;
            let must_empty = self.alone.get() && !self.held.borrow().is_empty();
            let wait = if must_empty || !self.may_send() {
                LOOK
            } else {
                let rows = if busy { 0 } else { self.buffer() - self.queued.get() };
                let (taken, next) = self.reserve(rows).await;
                pause = if taken { SHORTEST } else { (2 * pause).min(LONGEST) };
                match (taken, busy) {
                    (true, _) => continue,
                    (_, true) => LOOK,
                    _ => next.map_or(pause, |next| pause.min(next)),
                }
            };
            if timeout(wait, self.hungry.notified()).await.is_ok() || self.woken.get() {
                pause = SHORTEST;
            }
            self.woken.set(false);
        }
    }

    /// Reserves once. Returns whether anything came, and how long until something becomes due.
    async fn reserve(self: &Rc<Self>, rows: usize) -> (bool, Option<Duration>) {
        let per_host = self.process.config.per_host;
        let full: Vec<_> = {
            let lanes = self.lanes.borrow();
            lanes.values().filter(|lane| lane.is_full(per_host)).map(|lane| lane.id).collect()
        };
        let name = self.name.borrow().clone();
        let held = self.held.borrow().len();
        let ask = Reserve { worker: &name, rows, batches: BATCHES, held, full: &full };
        let session = self.session.get();
        self.reserving.set(true);
        let got = self.taking.reserve(&ask).await;
        self.reserving.set(false);
        let Some(got) = self.note(got) else { return (false, Some(LONGEST)) };
        self.set_clock(got.now_ms);
        self.alone.set(got.status == "alone");
        if got.status == "paused" {
            self.give_back_all();
        }
        if session != self.session.get() {
            return (false, None);
        }
        let taken = !got.batches.is_empty();
        for batch in got.batches {
            self.take_on(batch);
        }
        let next =
            got.next_ms.map(|at| Duration::from_millis(at.saturating_sub(got.now_ms).max(1)));
        (taken, next)
    }

    /// Holds a batch and hands out those of its rows whose time has come.
    fn take_on(self: &Rc<Self>, reserved: Reserved) {
        let (id, rows) = (reserved.id, reserved.rows);
        let (states, batch) = match (reserved.states, Batch::decode(&reserved.bytes)) {
            (Some(states), Ok(batch)) => (states, batch),
            (_, Err(error)) => return self.bury(id, rows, &error.to_string()),
            (None, _) => return self.bury(id, rows, "its rows' states are damaged"),
        };
        let now = self.now_ms();
        let lane = self.lane_of(id, &batch);
        let held = Rc::new(Held {
            id,
            batch,
            stored_at_ms: reserved.stored_at_ms,
            states: RefCell::new(states),
            probe: reserved.probe,
            open: Cell::new(0),
            touched: Cell::new(false),
            listed: Cell::new(false),
            session: self.session.get(),
        });
        self.held.borrow_mut().insert(id, held.clone());
        let most = if reserved.probe { 1 } else { usize::MAX };
        let is_due = |row: &RowState| matches!(row.state, State::Pending(at) if at <= now);
        let due: Vec<u16> = {
            let states = held.states.borrow();
            (0..)
                .zip(&states.rows)
                .filter(|(_, row)| is_due(row))
                .map(|(n, _)| n)
                .take(most)
                .collect()
        };
        // Counted once more than there are rows, so that a batch without a due row leaves by the same door.
        held.open.set(due.len() as u32 + 1);
        for row in due {
            lane.push(Item { held: held.clone(), row });
            self.queued.set(self.queued.get() + 1);
        }
        self.process.metrics.reserved.inc_by(u64::from(held.open.get() - 1));
        if lane.breaker.is_parked() && !reserved.probe && !self.unsettled.concerns(lane.id) {
            lane.breaker.open(); // another process's probe was answered
        }
        let parked = lane.breaker.is_parked() && !reserved.probe;
        held.open.set(held.open.get() - 1);
        if held.open.get() == 0 {
            held.open.set(1);
            self.close(&Item { held, row: 0 }, false);
        } else if parked || self.process.stopping.get() {
            self.give_back(&lane);
        } else {
            lane.pump(self);
        }
    }

    fn lane_of(&self, id: BatchId, batch: &Batch) -> Rc<Lane> {
        let new = || Lane::new(id.lane(), batch.endpoint.origin().clone());
        self.lanes.borrow_mut().entry(id.lane()).or_insert_with(new).clone()
    }

    /// A batch that cannot be read is dead, and the worker lives.
    fn bury(&self, id: BatchId, rows: u16, why: &str) {
        log::error!("batch {id}: {why}; its {rows} rows are dead, cause undecodable");
        let mut states = RowStates::new(rows);
        for row in &mut states.rows {
            row.state = State::Dead(Cause::Undecodable);
        }
        self.unsettled.bury(id, states);
    }

    /// After a lost answer: takes on what Redis has as held by this worker and the worker never saw.
    async fn adopt_unknown(self: &Rc<Self>) {
        let known: HashSet<BatchId> = self.held.borrow().keys().copied().collect();
        if !self.unsettled.is_empty() {
            return;
        }
        let name = self.name.borrow().clone();
        let Some(all) = self.note(self.taking.held(&name).await) else { return };
        for batch in all.into_iter().filter(|batch| !known.contains(&batch.id)) {
            log::warn!("batch {}: reserved, but the answer was lost; taken on now", batch.id);
            self.take_on(batch);
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
