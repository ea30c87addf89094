//! One lane in this process: its rows' queue, its connections, its share of the process's slots.
//!
//! Its breaker is in `lane/breaker.rs`, its rate in `lane/pace.rs`. Sending a row is in `send`, what its outcome means in
//! `attempt`.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    pin::pin,
    rc::Rc,
    time::Duration,
};

use hyper::header::HeaderValue;
use postback_core::{
    endpoint::Origin,
    id::LaneId,
    queue::{Slots, Want},
};
use tokio::{
    sync::oneshot,
    time::{Instant, sleep},
};

use crate::{
    attempt,
    process::Process,
    send::{Connection, host_header},
    worker::{Item, Worker},
};

mod breaker;
mod pace;
pub(crate) mod share;

pub(crate) use self::share::{Known, Line, Rank};
use self::{
    breaker::Breaker,
    pace::{Pace, Turn},
};

/// How long a connection is kept without a request.
const IDLE: Duration = Duration::from_secs(30);
/// The most connections of a lane kept so long; more than these are kept only across a short gap between rows. Closing
/// them at once cost a new connection for every fifth request of a lane under load.
const MAX_IDLE: usize = 8;
const SURPLUS: Duration = Duration::from_millis(200);

/// A limited lane looks at its slots at least so often: its rate may be another by then.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// So many lanes that wait for a slot are looked at when one is free; the others have their turn at the next.
const MOST_STARVED: usize = 16;
/// So many rounds of requests of a busy lane may wait in its queue; of one whose partner is quick as many as are sent
/// so soon, up to the most.
pub(crate) const ROUNDS: usize = 4;
const MOST_ROUNDS: usize = 16;
const SOON: Duration = Duration::from_millis(20);

pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) origin: Origin,
    /// Its texts: what comes before a URL's path, `host:port`, and the `Host` header (`None`: it cannot be written).
    pub(crate) front: String,
    pub(crate) host_port: String,
    pub(crate) host: Option<HeaderValue>,
    pub(crate) breaker: Breaker,
    queue: RefCell<VecDeque<Item>>,
    in_flight: Cell<usize>,
    connections: Cell<usize>,
    idle: RefCell<Vec<oneshot::Sender<Item>>>,
    /// As which ranks it waits for a slot.
    starved: Cell<[bool; Rank::ALL.len()]>,
    known: Cell<Known>,
    /// How many rounds of requests may wait while it is busy.
    rounds: Cell<usize>,
    /// Whether it asks for rows once it has room for as many as wait.
    asks: Cell<bool>,
    /// The lane's rate; `None`: no limit.
    pace: RefCell<Option<Pace>>,
    /// Whether the lane wakes up for its next slot.
    timer: Cell<bool>,
}

impl Lane {
    pub(crate) fn new(id: LaneId, origin: Origin) -> Rc<Lane> {
        Rc::new(Lane {
            id,
            front: origin.url(""),
            host_port: origin.host_port(),
            host: host_header(&origin),
            origin,
            breaker: Breaker::default(),
            queue: RefCell::default(),
            in_flight: Cell::new(0),
            connections: Cell::new(0),
            idle: RefCell::default(),
            starved: Cell::default(),
            known: Cell::default(),
            rounds: Cell::new(ROUNDS),
            asks: Cell::new(false),
            pace: RefCell::default(),
            timer: Cell::new(false),
        })
    }

    /// Whether nothing would be lost by forgetting the lane.
    pub(crate) fn is_unused(&self) -> bool {
        self.connections.get() == 0
            && self.queued() == 0
            && !self.timer.get()
            && self.breaker.is_at_rest()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Whether the lane has as many requests in flight as it may have now.
    fn is_busy(&self, process: &Process) -> bool {
        let (in_flight, known) = (self.in_flight.get(), self.known.get());
        in_flight >= process.config.per_host as usize || !process.has_slot_for(in_flight, known)
    }

    /// Whether a row would be sent at once, to a partner who answers soon.
    pub(crate) fn is_prompt_and_free(&self, worker: &Worker) -> bool {
        self.known.get() == Known::Prompt && self.queued() == 0 && !self.is_busy(&worker.process)
    }

    /// Notes how long an attempt took, connecting included.
    fn note_time(&self, took: Duration) {
        self.known.set(Known::by(took));
        let rounds = (SOON.as_micros() / took.as_micros().max(1)) as usize;
        // One attempt that ended at once, as of an expired row, tells little.
        self.rounds.set(rounds.clamp(ROUNDS, MOST_ROUNDS).min(self.rounds.get() + 1));
    }

    /// How many rows may wait here: as many as can be sent soon, which for a busy lane are some rounds of requests.
    fn limit(&self, worker: &Worker) -> usize {
        let limit = if self.is_busy(&worker.process) {
            self.rounds.get() * self.in_flight.get().max(1)
        } else {
            worker.lane_limit()
        };
        self.pace.borrow().as_ref().map_or(limit, |pace| limit.min(pace.soon()))
    }

    /// How many more rows may come, where they are not as many as of any lane. If fewer, it asks when there is room.
    pub(crate) fn room(&self, worker: &Worker) -> Option<usize> {
        let limit = self.limit(worker);
        let closed = worker.is_loaded() && self.is_busy(&worker.process);
        let room = if closed { 0 } else { limit.saturating_sub(self.queued()) };
        self.asks.set(room < worker.lane_limit());
        (room != worker.lane_limit()).then_some(room)
    }

    /// Whether it has room for as many rows as wait. If not, it asks for more once it has.
    pub(crate) fn is_short(&self, worker: &Worker) -> bool {
        let is_short = self.queued() <= self.limit(worker) / 2;
        self.asks.set(self.asks.get() || !is_short);
        is_short
    }

    /// Changes the queue, the pace or what is in flight, and keeps the worker's count right. Only rows that wait for a
    /// slot of the process are counted: what waits for a slow partner or its rate must not hold up the others.
    fn change<T>(&self, worker: &Worker, change: impl FnOnce() -> T) -> T {
        let counted = || {
            let waits = self.in_flight.get() == 0 && self.known.get() != Known::Slow;
            if waits && self.pace.borrow().is_none() { self.queued() } else { 0 }
        };
        let before = counted();
        let changed = change();
        worker.queue_changed(before, counted());
        changed
    }

    pub(crate) fn push(&self, worker: &Worker, item: Item) {
        self.change(worker, || self.queue.borrow_mut().push_back(item));
    }

    /// Takes every row that is not yet sent out of the queue.
    pub(crate) fn take_unsent(&self, worker: &Worker) -> VecDeque<Item> {
        self.change(worker, || self.queue.take())
    }

    /// Notes whether the lane has a rate. Its rows wait for slots from then on.
    pub(crate) fn set_limited(&self, worker: &Worker, limited: bool) {
        if self.pace.borrow().is_some() != limited {
            self.change(worker, || *self.pace.borrow_mut() = limited.then(Pace::default));
        }
    }

    /// The slots that must be asked for now, if there are any.
    pub(crate) fn wants(&self, now_ms: f64) -> Option<Want> {
        self.asks_at(now_ms).filter(|at| *at <= now_ms)?;
        let ended_ms = self.pace.borrow().as_ref().map_or(0.0, Pace::end_ms);
        Some(Want { lane: self.id, rows: self.queued(), ended_ms })
    }

    /// When slots may be asked for, if some are wanted; milliseconds since 1970, Redis's time.
    pub(crate) fn asks_at(&self, now_ms: f64) -> Option<f64> {
        let is_probe = self.queue.borrow().front().map(|item| item.held.probe)?;
        self.pace.borrow().as_ref().filter(|_| !is_probe)?.asks_at(now_ms)
    }

    /// Takes in slots from Redis.
    pub(crate) fn grant(self: &Rc<Self>, worker: &Rc<Worker>, slots: Slots) {
        if slots.every_ms <= 0.0 {
            self.set_limited(worker, false);
        } else if let Some(pace) = &mut *self.pace.borrow_mut() {
            pace.grant(slots);
        }
        self.pump(worker);
    }

    /// Gives up the slots that are left: from when to when they were.
    pub(crate) fn give_up_slots(&self) -> Option<(f64, f64)> {
        self.pace.borrow_mut().as_mut()?.give_up()
    }

    /// Takes a slot of a limited lane, or sees to it that the lane goes on when there is one. A probe needs none.
    fn has_turn(self: &Rc<Self>, worker: &Rc<Worker>) -> bool {
        if self.queue.borrow().front().is_some_and(|item| item.held.probe) {
            return true;
        }
        let now_ms = worker.now_exact_ms();
        let Some(turn) = self.pace.borrow_mut().as_mut().map(|pace| pace.take(now_ms)) else {
            return true;
        };
        match turn {
            Turn::Now => return true,
            Turn::At(at) => self.wake_after(worker, wait(at - now_ms)),
            Turn::Ask(at) if at <= now_ms => worker.ask_for_rows(),
            Turn::Ask(_) => {}
        }
        false
    }

    fn wake_after(self: &Rc<Self>, worker: &Rc<Worker>, wait: Duration) {
        if self.timer.replace(true) {
            return;
        }
        let (lane, worker) = (self.clone(), worker.clone());
        tokio::task::spawn_local(async move {
            sleep(wait).await;
            lane.timer.set(false);
            lane.pump(&worker);
        });
    }

    /// Puts rows on connections as far as the lane's share goes.
    pub(crate) fn pump(self: &Rc<Self>, worker: &Rc<Worker>) {
        while let Some(mut item) = self.next(worker, Instant::now()) {
            loop {
                let Some(idle) = self.idle.borrow_mut().pop() else {
                    self.connections.set(self.connections.get() + 1);
                    tokio::task::spawn_local(serve(worker.clone(), self.clone(), item));
                    break;
                };
                match idle.send(item) {
                    Ok(()) => break,
                    Err(back) => item = back,
                }
            }
        }
    }

    /// The next row and a slot for it, if there are both (`lane/share.rs`).
    fn next(self: &Rc<Self>, worker: &Rc<Worker>, now: Instant) -> Option<Item> {
        if self.queue.borrow().is_empty() || !worker.may_send(now) {
            return None;
        }
        let process = &worker.process;
        if self.in_flight.get() >= process.config.per_host as usize {
            return None;
        }
        if !process.has_slot_for(self.in_flight.get(), self.known.get()) {
            let rank = Rank::of(self.in_flight.get(), self.known.get());
            if !self.starves_as(rank, true) {
                process.starve(worker.clone(), self.clone(), rank);
            }
            return None;
        }
        if !self.has_turn(worker) {
            return None;
        }
        let item = self.change(worker, || {
            self.in_flight.set(self.in_flight.get() + 1);
            self.queue.borrow_mut().pop_front()
        })?;
        process.take_slot();
        if self.asks.get() && self.is_short(worker) {
            self.asks.set(false);
            worker.ask_for_rows();
        }
        Some(item)
    }

    /// Notes whether it waits for a slot as this rank; whether it did before.
    fn starves_as(&self, rank: Rank, starves: bool) -> bool {
        let mut starved = self.starved.get();
        let before = std::mem::replace(&mut starved[rank as usize], starves);
        self.starved.set(starved);
        before
    }

    /// Whether it waits for a slot as this rank still; if not, that is noted.
    pub(crate) fn still_starves_as(&self, rank: Rank) -> bool {
        let (in_flight, known) = (self.in_flight.get(), self.known.get());
        let still = self.queued() > 0 && Rank::of(in_flight, known) == rank;
        self.starves_as(rank, still);
        still
    }

    fn release(&self, worker: &Worker) {
        let process = &worker.process;
        self.change(worker, || self.in_flight.set(self.in_flight.get() - 1));
        process.free_slot();
        // A lane whose rows are gone, or that may not take this slot, must not use up the turn of the next.
        let free = process.free_slots();
        let mut refused = 0;
        for _ in 0..process.starved_lanes() {
            let Some(((worker, lane), rank)) = process.next_starved() else { break };
            lane.starves_as(rank, false);
            lane.pump(&worker);
            refused += usize::from(lane.starved.get()[rank as usize]);
            if process.free_slots() < free || (refused >= MOST_STARVED && process.in_flight() > 0) {
                break;
            }
        }
    }

    /// Waits for a row to come to this connection; `None` when it is not worth keeping any more.
    async fn wait(&self, process: &Process) -> Option<Item> {
        if !process.may_idle() {
            return None;
        }
        let patience = if self.idle.borrow().len() < MAX_IDLE { IDLE } else { SURPLUS };
        let (sender, mut receiver) = oneshot::channel();
        self.idle.borrow_mut().push(sender);
        process.add_idle(1);
        let given = tokio::select! {
            biased;
            given = &mut receiver => Some(given.ok()),
            () = sleep(patience) => None,
            () = process.crowded.notified() => None,
        };
        process.add_idle(-1);
        if let Some(item) = given {
            return item;
        }
        receiver.close();
        self.idle.borrow_mut().retain(|sender| !sender.is_closed());
        receiver.try_recv().ok()
    }
}

/// So many milliseconds, as Redis's numbers give them, as a wait of [`LONGEST_WAIT`] at most.
pub(crate) fn wait(ms: f64) -> Duration {
    let wait = Duration::try_from_secs_f64(ms.max(0.0) / 1000.0);
    wait.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT)
}

/// One connection's life: row after row, as long as there are rows and the connection holds.
async fn serve(worker: Rc<Worker>, lane: Rc<Lane>, first: Item) {
    let mut connection: Option<Connection> = None;
    let mut cut = pin!(worker.cut.notified());
    let (mut item, mut began) = (first, Instant::now());
    loop {
        // Also clears what was told while nothing was in flight here.
        while cut.as_mut().enable() {
            cut.set(worker.cut.notified());
        }
        let ended = attempt::run(&worker, &lane, item, &mut connection, cut.as_mut(), began).await;
        lane.note_time(ended - began);
        lane.release(&worker);
        let next = lane.next(&worker, ended);
        began = ended;
        let next = match (next, &mut connection) {
            (None, Some(connection)) if connection.is_usable() => {
                let next = lane.wait(&worker.process).await;
                connection.note_pause();
                began = Instant::now();
                next
            }
            (next, _) => next,
        };
        match next {
            Some(next) => item = next,
            None => break,
        }
    }
    lane.connections.set(lane.connections.get() - 1);
    worker.forget_if_unused(&lane);
}
