//! The steps that are over, remembered by who reads them.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::{Figures, boxes::Boxes};

/// A step is over for good when it ended so many minutes ago: shards may differ in their time.
const SURELY_OVER: u64 = 2;
/// For so long it is believed that past steps are as they were: Redis may have been emptied.
const BELIEVED: Duration = Duration::from_secs(300);

/// Steps that are over, kept so that a page that is looked at again and again reads only what is new: at most a few hundred.
#[derive(Debug, Default)]
pub struct PastSteps(Mutex<Past>);

/// A step's figures, and what the boxes told in it.
#[derive(Debug)]
pub(super) struct PastStep {
    pub(super) figures: Figures,
    pub(super) boxes: Boxes,
}

#[derive(Debug, Default)]
struct Past {
    /// When the first was read.
    since: Option<Instant>,
    /// By the minutes of a step and its number since 1970.
    steps: BTreeMap<(u64, u64), Arc<PastStep>>,
}

impl PastSteps {
    /// The steps of a range from its beginning on, as far as they are known.
    pub(super) fn known(&self, of_step: u64, range: &Range<u64>) -> Vec<Arc<PastStep>> {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if past.since.is_some_and(|since| since.elapsed() > BELIEVED) {
            *past = Past::default();
        }
        range.clone().map_while(|step| past.steps.get(&(of_step, step)).cloned()).collect()
    }

    /// Keeps those that are over; `minute` is the one under way.
    pub(super) fn keep(
        &self,
        of_step: u64,
        first: u64,
        steps: &[Arc<PastStep>],
        minute: u64,
        most: u64,
    ) {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        past.since.get_or_insert_with(Instant::now);
        past.steps.retain(|(of, step), _| *of != of_step || step + most > first);
        for (step, figures) in (first..).zip(steps) {
            if (step + 1) * of_step + SURELY_OVER <= minute {
                past.steps.insert((of_step, step), figures.clone());
            }
        }
    }
}
