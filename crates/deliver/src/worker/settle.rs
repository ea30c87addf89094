//! Reporting to Redis what became of rows: every 10 ms or 256 outcomes, repeated until answered.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use postback_core::{
    figures::Tally,
    id::{BatchId, LaneId},
    queue::{LaneChange, RecordRef, RowState, RowStates, Settle, SettledBatch, State},
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use super::{Held, Worker, records::Records};

/// Outcomes wait for others at most so long, and at most so many.
const EVERY: Duration = Duration::from_millis(10);
const MOST: usize = 256;
/// No new send while an outcome has waited so long for Redis's answer, or so many have.
const OVERDUE: Duration = Duration::from_secs(1);
const TOO_MANY: usize = 4096;
/// The most batches of one settle.
const BATCHES: usize = 200;

/// What Redis does not know yet.
#[derive(Default)]
pub(super) struct Unsettled {
    batches: RefCell<Vec<Rc<Held>>>,
    buried: RefCell<Vec<(BatchId, RowStates)>>,
    lanes: RefCell<Vec<LaneChange>>,
    /// Lanes in the settle under way.
    lanes_under_way: RefCell<Vec<LaneId>>,
    records: RefCell<Records>,
    /// The figures of the records since the last settle.
    tally: RefCell<Tally>,
    /// Since when the oldest of the above waits.
    since: Cell<Option<Instant>>,
    /// Outcomes in the settle under way, and since when the oldest waits.
    under_way: Cell<Option<(usize, Instant)>>,
    /// Batches in the settle under way that leave with it.
    leaving: RefCell<Vec<BatchId>>,
    news: Notify,
    many: Notify,
}

impl Unsettled {
    fn touch(&self) {
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
        }
        self.news.notify_one();
    }

    pub(super) fn list(&self, held: Rc<Held>) {
        self.batches.borrow_mut().push(held);
        self.touch();
    }

    pub(super) fn bury(&self, id: BatchId, states: RowStates) {
        self.buried.borrow_mut().push((id, states));
        self.touch();
    }

    pub(super) fn change(&self, change: LaneChange) {
        self.lanes.borrow_mut().push(change);
        self.touch();
    }

    pub(super) fn record(&self, record: &RecordRef<'_>) {
        self.records.borrow_mut().push(record);
        self.touch();
        if self.records.borrow().len() >= MOST {
            self.many.notify_one();
        }
    }

    /// Counts an attempt whose record follows.
    pub(super) fn count(&self, add: impl FnOnce(&mut Tally)) {
        add(&mut self.tally.borrow_mut());
    }

    /// What was held is another worker's now; only the log and the figures still want to know.
    pub(super) fn forget_batches(&self) {
        self.batches.borrow_mut().clear();
        self.buried.borrow_mut().clear();
        self.lanes.borrow_mut().clear();
        if self.is_drained() {
            self.since.set(None);
        }
    }

    /// Whether Redis does not know yet that this lane is parked or opened.
    pub(super) fn concerns(&self, lane: LaneId) -> bool {
        self.lanes_under_way.borrow().contains(&lane)
            || self.lanes.borrow().iter().any(|change| change.lane() == lane)
    }

    fn is_drained(&self) -> bool {
        self.batches.borrow().is_empty()
            && self.buried.borrow().is_empty()
            && self.lanes.borrow().is_empty()
            && self.records.borrow().len() == 0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.under_way.get().is_none() && self.is_drained()
    }

    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        let (sent, oldest) = self.under_way.get().map_or((0, None), |(n, since)| (n, Some(since)));
        oldest.or(self.since.get()).is_some_and(|since| now.duration_since(since) > OVERDUE)
            || self.records.borrow().len() + sent >= TOO_MANY
    }

    /// How many batches the settle under way gives up.
    pub(super) fn leaving(&self) -> usize {
        self.leaving.borrow().len()
    }

    /// Batches that this worker gave up, or is about to, without Redis having answered yet.
    pub(super) fn ids(&self) -> Vec<BatchId> {
        let buried = self.buried.borrow();
        self.leaving.borrow().iter().copied().chain(buried.iter().map(|(id, _)| *id)).collect()
    }

    /// Whether there is enough to fill a settle.
    fn is_full(&self) -> bool {
        self.records.borrow().len() >= MOST || self.batches.borrow().len() >= BATCHES
    }
}

impl Worker {
    pub(super) async fn settle_loop(self: Rc<Self>) {
        let mut number = 0;
        let mut session = self.session.get();
        loop {
            if self.unsettled.is_drained() {
                self.unsettled.news.notified().await;
            }
            // Not yet full: wait for others, unless the way out is what we wait for.
            if !self.unsettled.is_full() && !self.process.stopping.get() {
                drop(timeout(EVERY, self.unsettled.many.notified()).await);
            }
            if session != self.session.get() {
                (session, number) = (self.session.get(), 0);
            }
            number += 1;
            let name = self.name.borrow().clone();
            let Some(settle) = self.next_settle(number) else { continue };
            self.tell(&name, settle).await;
        }
    }

    /// Sends a settle until it is answered.
    async fn tell(self: &Rc<Self>, name: &str, settle: Settle) {
        let was_overdue = loop {
            let answer = self.note(self.telling.settle(name, &settle).await);
            if let Some(taken) = answer {
                if !taken && name == *self.name.borrow() {
                    self.doubt_lease();
                }
                break self.unsettled.is_overdue(Instant::now());
            }
            sleep(10 * EVERY).await;
        };
        self.unsettled.under_way.set(None);
        self.unsettled.leaving.borrow_mut().clear();
        self.unsettled.lanes_under_way.borrow_mut().clear();
        if was_overdue {
            self.pump_all();
        }
    }

    fn next_settle(self: &Rc<Self>, number: u64) -> Option<Settle> {
        let news = &self.unsettled;
        if news.is_drained() {
            return None;
        }
        let mut batches = Vec::new();
        let most = news.buried.borrow().len().min(BATCHES);
        for (id, states) in news.buried.borrow_mut().drain(..most) {
            let rows = states.rows.len() as u16;
            batches.push(SettledBatch { id, rows, leave: true, states: Some(states) });
        }
        let listed = {
            let mut all = news.batches.borrow_mut();
            let most = all.len().min(BATCHES - batches.len());
            all.drain(..most).collect::<Vec<_>>()
        };
        batches.extend(listed.iter().map(|held| self.settled_batch(held)));
        *news.leaving.borrow_mut() = batches.iter().filter(|b| b.leave).map(|b| b.id).collect();
        let entries = news.records.borrow_mut().take();
        let lanes = news.lanes.take();
        *news.lanes_under_way.borrow_mut() = lanes.iter().map(LaneChange::lane).collect();
        let since = news.since.take().unwrap_or_else(Instant::now);
        news.under_way.set(Some((entries.records, since)));
        if !news.is_drained() {
            news.since.set(Some(since)); // what did not fit waits as long
        }
        let tally = news.tally.take();
        Some(Settle {
            number,
            batches,
            lanes,
            log: entries.log,
            errors: entries.errors,
            counts: tally.counts(),
            buckets: tally.buckets(),
        })
    }

    fn settled_batch(self: &Rc<Self>, held: &Held) -> SettledBatch {
        held.listed.set(false);
        let leave = held.open.get() == 0;
        let states = held.touched.take().then(|| held.states.borrow().clone());
        if leave {
            let now = self.now_ms();
            let wait = |row: &RowState| match row.state {
                State::Waiting(ms) => Some(ms),
                State::Pending(at) if at > now => Some(at - now),
                _ => None,
            };
            if let Some(ms) = held.states.borrow().rows.iter().filter_map(wait).min() {
                self.ask_after(Duration::from_millis(ms));
            }
            self.let_go(held);
            if self.alone.get() {
                self.hungry.notify_one();
            }
        } else {
            let now = self.now_ms();
            for row in &mut held.states.borrow_mut().rows {
                if let State::Waiting(wait) = row.state {
                    row.state = State::Pending(now + wait);
                }
            }
        }
        SettledBatch { id: held.id, rows: held.batch.len(), leave, states }
    }
}
