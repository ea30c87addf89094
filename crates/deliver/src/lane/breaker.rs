//! Counts a lane's failures in a row in this process, and says when it is to be parked.

use std::{cell::Cell, time::Duration};

use tokio::time::Instant;

/// One lane's breaker.
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

    /// Whether nothing would be lost by forgetting it.
    pub(crate) fn is_at_rest(&self) -> bool {
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
