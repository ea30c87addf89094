//! Taking batches and handing their rows to lanes.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    rc::Rc,
    time::Duration,
};

use postback_core::{
    attempt::Cause,
    batch::{Batch, BatchError, MAX_ROWS},
    id::{BatchId, LaneId},
    queue::{
        LaneChange, QueueError, Reservation, Reserve, Reserved, RowState, RowStates, State, Want,
    },
    redis::RedisFailure,
};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::{Held, Item, Worker};
use crate::{
    attempt,
    lane::{Lane, wait},
    record::Buried,
};

/// The most batches of one reserve.
const BATCHES: usize = 200;
/// The most lanes for which slots, or rows of them alone, are asked at a time.
const MOST_WANTS: usize = 200;
/// Polls back off from the first to the second.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(1);
/// Those of a worker that holds batches from this: its lanes ask when they have room.
const BUSY: Duration = Duration::from_millis(8);
/// After so long without a wake-up they are listened for on another connection.
const QUIET: Duration = Duration::from_secs(30);
/// Rows that are put off for longer come by the polls, up to a second late.
const FAR: Duration = Duration::from_secs(60);
/// A busy worker asks at least so often, to see that the fleet is paused.
const LOOK: Duration = Duration::from_millis(500);

/// What a worker asks for.
struct Order {
    rows: usize,
    /// Of the lanes in `room` alone.
    only: bool,
    /// How many rows some lanes take.
    room: Vec<(LaneId, usize)>,
}

/// What a reserve brought.
struct Brought {
    /// Whether any batch came.
    any: bool,
    /// Whether rows may be left that the worker has room for.
    more: bool,
    /// How long until something becomes due.
    next: Option<Duration>,
    /// How long until a limited lane may ask for slots.
    slots: Option<Duration>,
}

impl Brought {
    fn nothing(next: Option<Duration>) -> Brought {
        Brought { any: false, more: false, next, slots: None }
    }
}

impl Worker {
    pub(super) async fn reserve_loop(self: Rc<Self>) {
        let mut pause = SHORTEST;
        let mut asked: Option<Instant> = None;
        while !self.process.stopping.get() {
            if self.adopt.take() {
                self.adopt_unknown().await;
            }
            let woken = self.woken.replace(false);
            let order = self.order();
            let rows = order.rows;
            let since = asked.map_or(LOOK, |at| at.elapsed());
            let wait = if !self.may_send(Instant::now()) {
                LOOK
            } else if rows == 0 && since < LOOK && !woken && self.needs_no_word() {
                self.until_slots().into_iter().fold(LOOK - since, Duration::min)
            } else {
                asked = Some(Instant::now());
                let brought = self.reserve(order).await;
                if brought.more {
                    pause = SHORTEST;
                    continue;
                }
                let least = if self.held.borrow().is_empty() { SHORTEST } else { BUSY };
                pause = match (brought.any, woken) {
                    (true, _) => least,
                    (false, true) => pause,
                    (false, false) => (2 * pause).clamp(least, LONGEST),
                };
                let next = if rows > 0 { brought.next } else { None };
                let most = if rows > 0 { pause } else { LOOK };
                [next, brought.slots].into_iter().flatten().fold(most, Duration::min)
            };
            // Woken in vain it goes on polling as before: what it puts off itself it knows of.
            if timeout(wait, self.hungry.notified()).await.is_ok() && !self.woken.get() {
                pause = SHORTEST;
            }
        }
        // What a lost answer brought goes back as well.
        while self.adopt.take() {
            self.adopt_unknown().await;
            if self.adopt.get() {
                sleep(LOOK).await;
            }
        }
        self.sated.set(true);
    }

    /// Asks for rows once those are due that were put off for so long, if none is due before.
    pub(super) fn ask_after(self: &Rc<Self>, wait: Duration) {
        let due = Instant::now() + wait;
        if wait > FAR || self.due.get().is_some_and(|first| first <= due) {
            return;
        }
        self.due.set(Some(due));
        let worker = self.clone();
        tokio::task::spawn_local(async move {
            sleep_until(due).await;
            if worker.due.get() == Some(due) {
                worker.due.set(None);
            }
            worker.hungry.notify_one();
        });
    }

    /// Whether nothing is to be learnt by asking for nothing.
    fn needs_no_word(&self) -> bool {
        !self.alone.get() && self.wants().0.is_empty()
    }

    /// What to ask for. With 0 rows a reserve only tells whether the fleet is paused.
    fn order(&self) -> Order {
        let none = Order { rows: 0, only: false, room: Vec::new() };
        if self.alone.get() && !self.held.borrow().is_empty() {
            return none;
        }
        let lanes = self.lanes.borrow();
        let (queued, buffer) = (self.queued.get(), self.buffer());
        if queued <= buffer / 2 {
            let room = lanes.values().filter_map(|lane| Some((lane.id, lane.room(self)?)));
            return Order { rows: buffer - queued, only: false, room: room.collect() };
        }
        // What waits for a slot must not hold up those who could have one.
        let prompt = lanes.values().filter(|lane| lane.is_prompt_and_free(self)).take(MOST_WANTS);
        let room: Vec<_> = prompt.map(|lane| (lane.id, self.lane_limit())).collect();
        if room.is_empty() { none } else { Order { rows: buffer, only: true, room } }
    }

    async fn reserve(self: &Rc<Self>, order: Order) -> Brought {
        let Order { rows, only, room } = order;
        let name = self.name.borrow().clone();
        let held = self.held.borrow().len();
        let (wanting, wants) = self.wants();
        let of_lane = self.lane_limit();
        let ask = Reserve {
            worker: &name,
            rows,
            batches: BATCHES,
            held,
            of_lane,
            wants: &wants,
            only,
            room: &room,
        };
        let session = self.session.get();
        let sent = Instant::now();
        let got = self.taking.reserve(&ask).await;
        if matches!(got, Err(QueueError::Redis(RedisFailure::Lost(_) | RedisFailure::Failed(_)))) {
            self.adopt.set(true);
        }
        let Some(got) = self.note(got) else { return Brought::nothing(Some(LONGEST)) };
        self.clock.set(sent, got.now_ms);
        // Asked for nothing, it tells whether such a batch still waits.
        let alone = got.status == "alone";
        if rows > 0 || (!alone && !self.holds_suspect()) {
            self.alone.set(alone);
        }
        self.heed(&got);
        if session != self.session.get() {
            return Brought::nothing(None);
        }
        for (lane, slots) in wanting.iter().zip(&got.slots) {
            lane.grant(self, *slots);
        }
        let mut fed: Vec<_> = got.batches.iter().map(|batch| batch.id.lane()).collect();
        fed.dedup();
        for batch in got.batches {
            self.take_on(batch, got.now_ms);
        }
        let any = !fed.is_empty();
        if any && self.is_loaded() {
            let lanes: Vec<_> = self.lanes.borrow().values().cloned().collect();
            lanes.iter().filter(|l| l.room(self) == Some(0)).for_each(|lane| self.give_back(lane));
        }
        let until = |at: u64| Duration::from_millis(at.saturating_sub(got.now_ms).max(1));
        let is_ok = ["ok", "more", "rest"].contains(&&*got.status);
        let slots = if is_ok { self.until_slots() } else { None };
        // Each must be looked at, so that those who are full ask later.
        let has_room = fed.iter().filter(|lane| self.has_room(lane)).count() > 0;
        let more = any && (got.status == "more" || (has_room && got.status == "rest"));
        Brought { any, more, next: got.next_ms.map(until), slots }
    }

    /// Whether a lane could do with more rows now.
    fn has_room(&self, lane: &LaneId) -> bool {
        self.lanes.borrow().get(lane).is_none_or(|lane| lane.is_short(self))
    }

    /// Whether a batch that crashed two workers is held.
    fn holds_suspect(&self) -> bool {
        self.alone.get() && self.held.borrow().values().any(|h| h.states.borrow().crashes >= 2)
    }

    /// Gives back what is unsent where the answer says so.
    fn heed(&self, got: &Reservation) {
        // What is held may be under another rate now.
        let changed = self.limit_changes.replace(got.limit_changes) != got.limit_changes;
        // What waits for an empty worker does not wait for the rows that are not sent yet.
        let alone = got.status == "alone" && got.batches.is_empty();
        if changed || alone || got.status == "paused" {
            self.give_back_all();
        }
        if got.status == "no lease" {
            self.doubt_lease();
        }
    }

    /// The limited lanes that need slots now, and their wishes.
    fn wants(&self) -> (Vec<Rc<Lane>>, Vec<Want>) {
        let now = self.now_exact_ms();
        let lanes = self.lanes.borrow();
        let wanted = lanes.values().filter_map(|lane| Some((lane.clone(), lane.wants(now)?)));
        wanted.take(MOST_WANTS).unzip()
    }

    /// How long until a limited lane may ask for slots.
    fn until_slots(&self) -> Option<Duration> {
        let now = self.now_exact_ms();
        let lanes = self.lanes.borrow();
        lanes.values().filter_map(|l| l.asks_at(now)).map(|at| wait((at - now).max(1.0))).min()
    }

    /// Holds a batch, taken at this time (Redis's, milliseconds since 1970), and hands out those of its rows whose time
    /// has come.
    fn take_on(self: &Rc<Self>, reserved: Reserved, reserved_at_ms: u64) {
        let (batch, states) = match (Batch::decode(&reserved.bytes), &reserved.states) {
            (Ok(batch), Some(states)) => (batch, states.clone()),
            (Err(error), _) => {
                // Ingest refuses such a URL; who writes past it gets no further.
                let refused = matches!(&error, BatchError::Endpoint(error) if error.is_url());
                let cause = if refused { Cause::Blocked } else { Cause::Undecodable };
                return self.bury(reserved, reserved_at_ms, None, cause, &error.to_string());
            }
            (Ok(batch), None) => {
                let why = "its rows' states are damaged";
                let cause = Cause::Undecodable;
                return self.bury(reserved, reserved_at_ms, Some(&batch), cause, why);
            }
        };
        let lane = self.lane_of(reserved.id, &batch);
        if lane.origin != *batch.endpoint.origin() {
            let why = "it is in the lane of another host";
            return self.bury(reserved, reserved_at_ms, Some(&batch), Cause::Undecodable, why);
        }
        if reserved.probe {
            self.give_back(&lane); // they would be before it
        } else {
            lane.set_limited(self, reserved.limited);
        }
        self.hold_bytes(self.held_bytes.get() + batch.size());
        let held = Rc::new(Held {
            id: reserved.id,
            batch,
            stored_at_ms: reserved.stored_at_ms,
            reserved_at_ms,
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

    /// The rows whose time has come. Of a probe one, and those that are not sent because they have expired.
    fn due_rows(&self, held: &Held) -> Vec<u16> {
        let now = self.now_ms();
        let is_due = |row: &RowState| matches!(row.state, State::Pending(at) if at <= now);
        let states = held.states.borrow();
        let mut due: Vec<u16> =
            (0..).zip(&states.rows).filter(|(_, row)| is_due(row)).map(|(n, _)| n).collect();
        if held.probe {
            let mut probed = false;
            due.retain(|row| {
                let over = attempt::time_left(self, held, *row, now).is_zero();
                over || !std::mem::replace(&mut probed, true)
            });
        }
        due
    }

    fn lane_of(&self, id: BatchId, batch: &Batch) -> Rc<Lane> {
        let new = || Lane::new(id.lane(), batch.endpoint.origin().clone());
        self.lanes.borrow_mut().entry(id.lane()).or_insert_with(new).clone()
    }

    /// A batch that cannot be read is dead, and the worker lives.
    fn bury(
        &self,
        reserved: Reserved,
        reserved_at_ms: u64,
        batch: Option<&Batch>,
        cause: Cause,
        why: &str,
    ) {
        let (id, rows) = (reserved.id, reserved.rows);
        log::error!("batch {id}: {why}; its rows are dead, cause {cause}");
        let mut states = reserved.states.unwrap_or_else(|| RowStates::new(rows));
        let (stored_at_ms, at_ms) = (reserved.stored_at_ms, self.now_ms());
        let dead = Buried { batch, stored_at_ms, reserved_at_ms, at_ms, cause, why };
        for (n, row) in states.rows.iter_mut().enumerate().filter(|(_, row)| row.is_pending()) {
            row.die(cause, at_ms);
            // A damaged count may tell of many more than there are.
            if n < MAX_ROWS {
                dead.record(id.postback(n as u16), |record| self.record(record));
            }
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
        let Some(found) = self.note(self.taking.held(&name, &known).await) else {
            self.adopt.set(true);
            return;
        };
        if session != self.session.get() || found.is_empty() {
            return;
        }
        log::warn!("{} batches were reserved, but the answer was lost; taken on now", found.len());
        for batch in found {
            // When exactly is not known: now at the latest.
            self.take_on(batch, self.now_ms());
        }
    }

    /// Listens for rows coming into an empty queue.
    pub(super) async fn wakeup_loop(self: Rc<Self>) {
        loop {
            if let Ok(mut wakeups) = self.queue.wakeups().await {
                // A connection that died without a word is as quiet as one without wake-ups.
                while matches!(timeout(QUIET, wakeups.next()).await, Ok(Ok(()))) {
                    self.woken.set(true);
                    self.hungry.notify_one();
                }
            }
            sleep(LONGEST).await;
        }
    }
}
