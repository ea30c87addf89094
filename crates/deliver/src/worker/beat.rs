//! The lease: renewed every 5 s; what may be sent under it; what follows when it was lost.

use std::{rc::Rc, time::Duration};

use postback_core::queue::{BEAT_EVERY, Beat, LEASE, Which};
use tokio::time::{Instant, sleep, timeout};

use super::{Held, Worker, new_name};

/// No new send later than this after the last beat that succeeded (half a lease).
const SEND_AFTER_BEAT: Duration = Duration::from_secs(15);

/// A beat that failed is tried again after this.
const AGAIN: Duration = Duration::from_millis(500);

/// How often it is looked whether the lease is about to end.
const FENCE: Duration = Duration::from_millis(500);

/// Of so many lanes a beat tells how many requests are in flight: 320 bytes of it.
const TOLD_LANES: usize = 20;

impl Worker {
    /// Whether a request may be begun: it may go out, and there was no shortage just now.
    pub(crate) fn may_send(&self, now: Instant) -> bool {
        !self.resting.get() && self.may_write(now)
    }

    /// Whether a request may go out: the lease is fresh, and Redis takes our outcomes.
    fn may_write(&self, now: Instant) -> bool {
        !self.process.stopping.get()
            && self.beat_at.get().is_some_and(|at| now.duration_since(at) < SEND_AFTER_BEAT)
            && !self.unsettled.is_overdue(now)
    }

    /// Whether a request of this batch may be begun: it was not taken over meanwhile.
    pub(crate) fn may_send_of(&self, held: &Held, now: Instant) -> bool {
        held.session == self.session.get() && self.may_send(now)
    }

    /// Whether a begun request of this batch may go out. A shortage does not stop one that has its connection: of many
    /// that are begun at once the first without one would stop all of them, time and again.
    pub(crate) fn may_write_of(&self, held: &Held, now: Instant) -> bool {
        held.session == self.session.get() && self.may_write(now)
    }

    /// Redis does not know of this worker's lease, whatever our clock says of it (which stands still while the machine
    /// is suspended): nothing is sent until a beat has cleared it up.
    pub(super) fn doubt_lease(&self) {
        self.beat_at.set(None);
        self.doubt.notify_one();
    }

    pub(super) async fn beat_loop(self: Rc<Self>) {
        let mut which = Which::First;
        loop {
            let sent = Instant::now();
            let figures = self.figures();
            let name = self.name.borrow().clone();
            let beat = self.note(self.telling.beat(&name, which, &figures).await);
            match beat {
                Some(Beat::Alive { now_ms, held, taken }) => {
                    which = Which::Next;
                    self.alive(sent, now_ms, held, taken);
                    // More of a dead worker's batches may be left than one beat takes.
                    let wait = if taken > 0 { Duration::ZERO } else { BEAT_EVERY };
                    drop(timeout(wait, self.doubt.notified()).await);
                }
                Some(Beat::Lost) => {
                    log::warn!("the lease of worker {name} was taken over: starting a new session");
                    self.start_over();
                    which = Which::First;
                }
                None => {
                    sleep(AGAIN).await;
                }
            }
        }
    }

    fn alive(self: &Rc<Self>, sent: Instant, now_ms: u64, held: usize, taken: usize) {
        let was_silent = !self.may_send(Instant::now());
        self.beat_at.set(Some(sent));
        self.clock.set(sent, now_ms);
        if taken > 0 {
            log::warn!("took back {taken} batches from a worker that stopped beating");
        }
        // After a lost answer Redis has more than this worker knows of; or the answer is on its way.
        let more = held > self.held.borrow().len() + self.unsettled.leaving();
        if self.more.replace(more) && more {
            self.adopt.set(true);
            self.hungry.notify_one();
        }
        if was_silent {
            self.pump_all();
            self.hungry.notify_one();
        }
        self.lanes.borrow_mut().retain(|_, lane| !lane.is_unused());
    }

    /// Drops everything: the rows belong to others now. What is in flight is cut off.
    fn start_over(&self) {
        self.session.set(self.session.get() + 1);
        *self.name.borrow_mut() = new_name();
        self.beat_at.set(None);
        let lanes: Vec<_> = self.lanes.borrow().values().cloned().collect();
        for lane in lanes {
            drop(lane.take_unsent(self));
        }
        self.held.borrow_mut().clear();
        self.hold_bytes(0);
        self.unsettled.forget_batches();
        self.cut.notify_waiters();
    }

    /// Cuts off what is open when the lease ends: another worker may send the same rows from then on.
    pub(super) async fn fence_loop(self: Rc<Self>) {
        loop {
            sleep(FENCE).await;
            if self.beat_at.get().is_some_and(|at| at.elapsed() + 2 * FENCE >= LEASE) {
                self.cut.notify_waiters();
            }
        }
    }

    fn figures(&self) -> [(&'static str, String); 6] {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        [
            ("box", host.trim().to_owned()),
            ("pid", std::process::id().to_string()),
            ("in_flight", self.process.in_flight().to_string()),
            ("queued", self.queued.get().to_string()),
            ("since", self.process.since.clone()),
            ("lanes", self.busiest_lanes()),
        ]
    }

    /// The lanes with most requests in flight, for the page `/hosts`: `<lane>:<requests>`, with blanks between them.
    fn busiest_lanes(&self) -> String {
        let lanes = self.lanes.borrow();
        let mut busy: Vec<_> = lanes
            .values()
            .map(|lane| (lane.in_flight(), lane.id))
            .filter(|(requests, _)| *requests > 0)
            .collect();
        busy.sort_unstable_by(|a, b| b.cmp(a));
        busy.truncate(TOLD_LANES);
        let told: Vec<_> =
            busy.iter().map(|(requests, lane)| format!("{lane}:{requests}")).collect();
        told.join(" ")
    }
}
