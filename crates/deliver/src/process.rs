//! What the workers of one process share: options, the way out, and the slots for requests in flight.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use postback_core::{queue::QueueError, redis::Trouble, view::time_text};
use tokio::sync::Notify;

use crate::{
    config::Config,
    connect::Dialer,
    deliveries::Deliveries,
    descriptors,
    lane::{Known, Lane, Line, Rank, share},
    metrics::Metrics,
    sign::SigningKeys,
    worker::Worker,
};

/// A lane that waits for a slot, of this worker.
type Waiter = (Rc<Worker>, Rc<Lane>);

pub(crate) struct Process {
    pub(crate) config: Config,
    pub(crate) dialer: Dialer,
    pub(crate) keys: SigningKeys,
    pub(crate) metrics: Metrics,
    /// With `--log-deliveries`.
    pub(crate) deliveries: Option<Deliveries>,
    redis: Trouble,
    /// Lanes that would send more if there were slots.
    starved: RefCell<Line<Waiter>>,
    pub(crate) stopping: Cell<bool>,
    /// Told when the last request in flight is over.
    pub(crate) quiet: Notify,
    /// Requests that may be in flight: `--concurrency`, as far as the descriptors go.
    pub(crate) slots: usize,
    /// Connections that may be open, idle ones among them.
    sockets: usize,
    /// Told when an idle connection must be closed for a new one.
    pub(crate) crowded: Notify,
    idle: Cell<usize>,
    in_flight: Cell<usize>,
    /// When it started, by this box's clock; RFC 3339, UTC.
    pub(crate) since: String,
}

impl Process {
    pub(crate) fn new(
        config: Config,
        dialer: Dialer,
        keys: SigningKeys,
        metrics: Metrics,
    ) -> Rc<Process> {
        let slots = config.concurrency as usize;
        let sockets = sockets(slots);
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Rc::new(Process {
            slots: slots.min(sockets),
            sockets: sockets.min(2 * slots),
            crowded: Notify::new(),
            deliveries: config.log_deliveries.then(Deliveries::new),
            config,
            dialer,
            keys,
            metrics,
            redis: Trouble::default(),
            starved: RefCell::default(),
            stopping: Cell::new(false),
            quiet: Notify::new(),
            idle: Cell::new(0),
            in_flight: Cell::new(0),
            since: time_text(since_1970.as_millis() as u64),
        })
    }

    /// One log line when Redis gets into trouble and for each new reason, whichever worker and connection finds it.
    pub(crate) fn redis_failed(&self, error: &QueueError) {
        if self.redis.failed(error.kind(), std::time::Instant::now()) {
            log::error!("{error}; waiting for it");
        }
    }

    /// One log line when Redis is well again.
    pub(crate) fn redis_did(&self) {
        if let Some(lasted) = self.redis.well(std::time::Instant::now()) {
            log::info!("redis is back after {lasted:.1?}");
        }
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(crate) fn free_slots(&self) -> usize {
        self.slots.saturating_sub(self.in_flight.get())
    }

    /// Whether a lane with so many requests in flight may take one more slot.
    pub(crate) fn has_slot_for(&self, in_flight: usize, known: Known) -> bool {
        share::allows(self.slots, self.free_slots(), in_flight, known)
    }

    /// Notes a lane that waits for a slot.
    pub(crate) fn starve(&self, worker: Rc<Worker>, lane: Rc<Lane>, rank: Rank) {
        let still_waits = |(_, lane): &Waiter| lane.still_starves_as(rank);
        self.starved.borrow_mut().push(rank, (worker, lane), still_waits);
    }

    /// How many lanes wait for a slot.
    pub(crate) fn starved_lanes(&self) -> usize {
        self.starved.borrow().len()
    }

    /// The lane whose turn it is to get a slot, and the rank as which it waited. Ranks that cannot get one are left
    /// alone: looking at sixteen of their lanes for each answer took a tenth of the CPU or more with 10,000 partners.
    pub(crate) fn next_starved(&self) -> Option<(Waiter, Rank)> {
        self.starved.borrow_mut().pop(|rank| rank.has_chance(self.slots, self.free_slots()))
    }

    pub(crate) fn take_slot(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.metrics.in_flight.inc();
        if self.idle.get() > 0 && self.in_flight.get() + self.idle.get() > self.sockets {
            self.crowded.notify_one();
        }
    }

    /// Whether one more connection may be kept without a request.
    pub(crate) fn may_idle(&self) -> bool {
        self.in_flight.get() + self.idle.get() < self.sockets
    }

    /// Counts the connections without a request.
    pub(crate) fn add_idle(&self, n: isize) {
        self.idle.set(self.idle.get().saturating_add_signed(n));
    }

    pub(crate) fn free_slot(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.metrics.in_flight.dec();
        if self.in_flight.get() == 0 {
            self.quiet.notify_waiters();
        }
    }
}

/// How many connections to partners the descriptors allow; warns where they are fewer than requests are wanted.
fn sockets(wanted: usize) -> usize {
    let Some((limit, sockets)) = descriptors::for_partners() else { return usize::MAX };
    if sockets < wanted {
        log::warn!(
            "--concurrency is {wanted}, but the limit of {limit} file descriptors leaves room for {sockets} requests in \
             flight: raise it to {} (minfds in supervisord, LimitNOFILE in systemd, ulimit -n)",
            descriptors::limit_for(wanted)
        );
    }
    sockets
}
