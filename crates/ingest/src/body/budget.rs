//! What all bodies together may take of memory: bytes are taken as they arrive or are inflated, and given back when
//! their request is answered.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::problem::Problem;

/// So many bodies of the longest kind at a time: 256 MiB where `--max-body` is 8 MiB. nginx hands bodies on whole: behind it
/// a few are there at a time. Clients without it may be slow on purpose.
const LONG_BODIES: usize = 32;
/// A body up to this size is short: some hundred rows.
pub(super) const SHORT_BODY: usize = 64 * 1024;
/// All short bodies together. They have a share of their own, so that those who send long ones slowly keep out
/// only others with long ones.
const SHORT_BODIES: usize = 64 * 1024 * 1024;

/// What is left.
#[derive(Debug)]
pub(super) struct Budget {
    short: AtomicUsize,
    long: AtomicUsize,
}

/// A body's part of the budget, given back by drop.
#[derive(Debug)]
pub(crate) struct Held {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// For bodies of at most so many bytes each.
    pub(super) fn new(max_body: usize) -> Budget {
        Budget {
            short: AtomicUsize::new(SHORT_BODIES),
            long: AtomicUsize::new(max_body.saturating_mul(LONG_BODIES)),
        }
    }

    /// Of which share a body of so many bytes takes.
    fn share(&self, bytes: usize) -> &AtomicUsize {
        if bytes <= SHORT_BODY { &self.short } else { &self.long }
    }
}

impl Held {
    pub(super) fn none(budget: &Arc<Budget>) -> Held {
        Held { budget: budget.clone(), bytes: 0 }
    }

    /// Makes it so many bytes, of one share or the other.
    pub(crate) fn resize(&mut self, bytes: usize) -> Result<(), Problem> {
        let (from, to) = (self.budget.share(self.bytes), self.budget.share(bytes));
        // Within a share only the difference is taken.
        let kept = if std::ptr::eq(from, to) { self.bytes.min(bytes) } else { 0 };
        let take = |left: usize| left.checked_sub(bytes - kept);
        to.fetch_update(Relaxed, Relaxed, take).map_err(|_| {
            let detail = "more bodies are being read than memory is kept for: send it again";
            Problem::unavailable("not_enqueued", detail)
        })?;
        from.fetch_add(self.bytes - kept, Relaxed);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.share(self.bytes).fetch_add(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: usize = SHORT_BODY + 1;

    fn left(budget: &Budget) -> (usize, usize) {
        (budget.short.load(Relaxed), budget.long.load(Relaxed))
    }

    #[test]
    fn what_is_taken_is_given_back_to_the_share_it_is_of() {
        let budget = Arc::new(Budget::new(LONG));
        let all = left(&budget);
        let mut held = Held::none(&budget);
        for bytes in [0, 10, 7, SHORT_BODY, LONG, LONG - 1, LONG, 2 * LONG, 0, LONG, 5] {
            held.resize(bytes).unwrap();
            let (short, long) = if bytes <= SHORT_BODY { (bytes, 0) } else { (0, bytes) };
            assert_eq!(left(&budget), (all.0 - short, all.1 - long), "{bytes}");
        }
        drop(held);
        assert_eq!(left(&budget), all);
    }

    #[test]
    fn long_bodies_that_take_their_share_leave_that_of_short_ones() {
        let budget = Arc::new(Budget::new(LONG));
        let mut long: Vec<_> = (0..=LONG_BODIES).map(|_| Held::none(&budget)).collect();
        let taken = long.iter_mut().filter_map(|held| held.resize(LONG).ok()).count();
        assert_eq!(taken, LONG_BODIES);
        let mut one = Held::none(&budget);
        one.resize(SHORT_BODY).unwrap();
        // Refused, it keeps what it had.
        assert!(one.resize(LONG).is_err());
        assert_eq!(one.bytes, SHORT_BODY);
        drop(long);
        one.resize(LONG).unwrap();
    }
}
