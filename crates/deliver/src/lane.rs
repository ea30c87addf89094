//! One lane in this process: its rows' queue, its connections, its share of the slots, its breaker.
//!
//! What a row's outcome means is in `record`; sending it is in `send`.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
    time::Duration,
};

use postback_core::{endpoint::Origin, id::LaneId};
use tokio::{
    sync::oneshot,
    time::{Instant, timeout},
};

use crate::{
    attempt,
    process::Process,
    send::Connection,
    worker::{Item, Worker},
};

/// How long a connection is kept without a request.
const IDLE: Duration = Duration::from_secs(30);
/// The most connections of a lane kept so long; more than these are kept only across a short gap between rows. Closing
/// them at once cost a new connection for every fifth request of a lane under load.
const MAX_IDLE: usize = 8;
const SURPLUS: Duration = Duration::from_millis(200);

pub(crate) struct Lane {
    pub(crate) id: LaneId,
    pub(crate) origin: Origin,
    pub(crate) breaker: Breaker,
    queue: RefCell<VecDeque<Item>>,
    in_flight: Cell<usize>,
    connections: Cell<usize>,
    idle: RefCell<Vec<oneshot::Sender<Item>>>,
    starved: Cell<bool>,
}

impl Lane {
    pub(crate) fn new(id: LaneId, origin: Origin) -> Rc<Lane> {
        Rc::new(Lane {
            id,
            origin,
            breaker: Breaker::default(),
            queue: RefCell::default(),
            in_flight: Cell::new(0),
            connections: Cell::new(0),
            idle: RefCell::default(),
            starved: Cell::new(false),
        })
    }

    /// Whether nothing would be lost by forgetting the lane.
    pub(crate) fn is_unused(&self) -> bool {
        self.connections.get() == 0 && self.queued() == 0 && self.breaker.is_at_rest()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Whether so many rows wait that more could not be sent soon.
    pub(crate) fn is_full(&self, worker: &Worker) -> bool {
        self.queued() >= worker.lane_limit()
    }

    pub(crate) fn push(&self, worker: &Worker, item: Item) {
        let before = self.queued();
        self.queue.borrow_mut().push_back(item);
        worker.queue_changed(before, self.queued());
    }

    /// Takes every row that is not yet sent out of the queue.
    pub(crate) fn take_unsent(&self, worker: &Worker) -> VecDeque<Item> {
        worker.queue_changed(self.queued(), 0);
        self.queue.take()
    }

    /// Puts rows on connections as far as the lane's share goes.
    pub(crate) fn pump(self: &Rc<Self>, worker: &Rc<Worker>) {
        while let Some(mut item) = self.next(worker) {
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

    /// The next row and a slot for it, if there are both. A lane takes a further slot only while it uses less than
    /// half of the slots still free, so that no number of slow hosts fills the process.
    fn next(self: &Rc<Self>, worker: &Rc<Worker>) -> Option<Item> {
        if self.queue.borrow().is_empty() || !worker.may_send() {
            return None;
        }
        let process = &worker.process;
        let per_host = process.config.per_host;
        if self.in_flight.get() >= per_host as usize {
            return None;
        }
        if 2 * self.in_flight.get() >= process.free_slots() {
            if !self.starved.replace(true) {
                process.starved.borrow_mut().push_back((worker.clone(), self.clone()));
            }
            return None;
        }
        let before = self.queued();
        let item = self.queue.borrow_mut().pop_front()?;
        worker.queue_changed(before, before - 1);
        self.in_flight.set(self.in_flight.get() + 1);
        process.take_slot();
        Some(item)
    }

    fn release(&self, process: &Process) {
        self.in_flight.set(self.in_flight.get() - 1);
        process.free_slot();
        // A lane whose rows are gone meanwhile must not use up the turn of the next.
        let (free, starved) = (process.free_slots(), process.starved.borrow().len());
        for _ in 0..starved {
            let Some((worker, lane)) = process.starved.borrow_mut().pop_front() else { break };
            lane.starved.set(false);
            lane.pump(&worker);
            if process.free_slots() < free {
                break;
            }
        }
    }

    /// Waits for a row to come to this connection; `None` when it is not worth keeping any more.
    async fn wait(&self, process: &Process) -> Option<Item> {
        if process.idle.get() >= process.config.concurrency {
            return None;
        }
        let patience = if self.idle.borrow().len() < MAX_IDLE { IDLE } else { SURPLUS };
        let (sender, mut receiver) = oneshot::channel();
        self.idle.borrow_mut().push(sender);
        process.idle.set(process.idle.get() + 1);
        let waited = timeout(patience, &mut receiver).await;
        process.idle.set(process.idle.get() - 1);
        if let Ok(item) = waited {
            return item.ok();
        }
        receiver.close();
        self.idle.borrow_mut().retain(|sender| !sender.is_closed());
        receiver.try_recv().ok()
    }
}

/// One connection's life: row after row, as long as there are rows and the connection holds.
async fn serve(worker: Rc<Worker>, lane: Rc<Lane>, first: Item) {
    let mut connection = None;
    let mut item = first;
    loop {
        attempt::run(&worker, &lane, item, &mut connection).await;
        lane.release(&worker.process);
        let next = match lane.next(&worker) {
            Some(next) => Some(next),
            None if connection.as_ref().is_some_and(Connection::is_usable) => {
                lane.wait(&worker.process).await
            }
            None => None,
        };
        match next {
            Some(next) => item = next,
            None => break,
        }
    }
    lane.connections.set(lane.connections.get() - 1);
    worker.forget_if_unused(&lane);
}

/// Counts failures in a row and says when the lane is to be parked.
#[derive(Default)]
pub(crate) struct Breaker {
    failures: Cell<u32>,
    parked: Cell<bool>,
    /// The last failure or parking.
    troubled: Cell<Option<Instant>>,
}

impl Breaker {
    /// So many failures in a row park the lane.
    const LIMIT: u32 = 10;
    /// A lane without rows is remembered so long for its failures.
    const MEMORY: Duration = Duration::from_secs(600);

    /// Takes in what [`postback_core::attempt::Outcome::breaker_failure`] made of an outcome. True: park now.
    pub(crate) fn count(&self, failure: Option<bool>) -> bool {
        match failure {
            Some(true) => {
                self.failures.set(self.failures.get() + 1);
                self.troubled.set(Some(Instant::now()));
            }
            Some(false) => self.failures.set(0),
            None => {}
        }
        self.failures.get() >= Self::LIMIT && !self.parked.replace(true)
    }

    pub(crate) fn park(&self) {
        self.parked.set(true);
        self.troubled.set(Some(Instant::now()));
    }

    pub(crate) fn is_parked(&self) -> bool {
        self.parked.get()
    }

    pub(crate) fn open(&self) {
        self.parked.set(false);
        self.failures.set(0);
    }

    fn is_at_rest(&self) -> bool {
        (self.failures.get() == 0 && !self.parked.get())
            || self.troubled.get().is_none_or(|at| at.elapsed() > Self::MEMORY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_failures_in_a_row_park_a_lane_once() {
        let breaker = Breaker::default();
        assert!((0..9).all(|_| !breaker.count(Some(true))));
        breaker.count(Some(false));
        assert!((0..9).all(|_| !breaker.count(Some(true))));
        assert!(!breaker.count(None));
        assert!(breaker.count(Some(true)));
        assert!(!breaker.count(Some(true)));
        breaker.open();
        assert!(!breaker.count(Some(true)));
    }
}
