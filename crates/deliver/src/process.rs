//! What the workers of one process share: options, the way out, and the slots for requests in flight.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    rc::Rc,
};

use tokio::sync::Notify;

use crate::{
    config::Config, connect::Dialer, lane::Lane, metrics::Metrics, sign::SigningKeys,
    worker::Worker,
};

pub(crate) struct Process {
    pub(crate) config: Config,
    pub(crate) dialer: Dialer,
    pub(crate) keys: SigningKeys,
    pub(crate) metrics: Metrics,
    /// Lanes that would send more if there were slots, in the order in which they get one.
    pub(crate) starved: RefCell<VecDeque<(Rc<Worker>, Rc<Lane>)>>,
    pub(crate) stopping: Cell<bool>,
    /// Told when the last request in flight is over.
    pub(crate) quiet: Notify,
    /// Connections kept without a request; at most `--concurrency`.
    pub(crate) idle: Cell<u32>,
    in_flight: Cell<usize>,
}

impl Process {
    pub(crate) fn new(
        config: Config,
        dialer: Dialer,
        keys: SigningKeys,
        metrics: Metrics,
    ) -> Rc<Process> {
        Rc::new(Process {
            config,
            dialer,
            keys,
            metrics,
            starved: RefCell::default(),
            stopping: Cell::new(false),
            quiet: Notify::new(),
            idle: Cell::new(0),
            in_flight: Cell::new(0),
        })
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    pub(crate) fn free_slots(&self) -> usize {
        (self.config.concurrency as usize).saturating_sub(self.in_flight.get())
    }

    pub(crate) fn take_slot(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.metrics.in_flight.inc();
    }

    pub(crate) fn free_slot(&self) {
        self.in_flight.set(self.in_flight.get() - 1);
        self.metrics.in_flight.dec();
        if self.in_flight.get() == 0 {
            self.quiet.notify_waiters();
        }
    }
}
