//! The figures of the minutes, read: those of an hour, of eight or of 48, added up over all shards into steps.
//!
//! What was counted and is missing is zero; what was sampled and is missing is a gap. Steps begin at round times, so that
//! one that is over stays as it is and need not be read again ([`PastSteps`]).

use std::{ops::Range, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use self::{
    boxes::{Boxes, boxes_of, boxes_of_step},
    figures::merged,
    past::PastStep,
};
use super::{Queue, QueueError, Shard};

mod boxes;
mod figures;
mod past;

pub use self::{
    boxes::BoxFigures,
    figures::{Figures, Samples},
    past::PastSteps,
};

/// Minutes read in one write, so that Redis serves others between.
const AT_ONCE: usize = 240;
const MINUTE_MS: u64 = 60_000;

/// Which time is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Span {
    /// An hour, by the minute.
    #[default]
    #[serde(rename = "1h")]
    Hour,
    /// Eight hours, by five minutes.
    #[serde(rename = "8h")]
    EightHours,
    /// 48 hours, by the half hour.
    #[serde(rename = "48h")]
    TwoDays,
}

impl Span {
    /// Every span with its name.
    pub const NAMES: [(Span, &'static str); 3] =
        [(Span::Hour, "1h"), (Span::EightHours, "8h"), (Span::TwoDays, "48h")];

    /// How many steps it has, the one under way among them, and how many minutes a step.
    pub fn steps(self) -> (u64, u64) {
        match self {
            Span::Hour => (61, 1),
            Span::EightHours => (97, 5),
            Span::TwoDays => (97, 30),
        }
    }
}

/// A part of the time that is looked at.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Step {
    /// When it begins, milliseconds since 1970, Redis's time.
    pub at_ms: u64,
    /// How long it is; the last one ends now.
    pub time: Duration,
    /// Its figures.
    pub figures: Figures,
}

/// The figures of a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Minutes {
    /// Until when: Redis's time, milliseconds since 1970.
    pub now_ms: u64,
    /// The steps, the oldest first; the last is under way.
    pub steps: Vec<Step>,
    /// The last whole minute and the one under way.
    pub recent: Step,
    /// The boxes, by name.
    pub boxes: Vec<BoxFigures>,
}

impl Queue {
    /// The figures of a span until now. What `past` knows is not read again for five minutes.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn minutes(&self, span: Span, past: &PastSteps) -> Result<Minutes, QueueError> {
        let (most, of_step) = span.steps();
        let now_ms = self.shards()[0].now_ms().await?;
        let minute = now_ms / MINUTE_MS;
        let last = minute / of_step;
        let range = last.saturating_sub(most - 1)..last + 1;
        let mut steps = past.known(of_step, &range);
        let first = range.start + steps.len() as u64;
        let unknown = first * of_step..minute + 1;
        let figures = self.figures(&unknown).await?;
        let told = self.shards()[0].boxes(&unknown).await?;
        let read = figures.chunks(of_step as usize).zip(told.chunks(of_step as usize));
        let read = read.map(|(f, b)| PastStep { figures: merged(f), boxes: boxes_of_step(b) });
        let read: Vec<_> = read.map(Arc::new).collect();
        past.keep(of_step, first, &read, minute, 2 * most);
        steps.extend(read);
        let recent = minute.saturating_sub(1)..minute + 1;
        let recent_figures = merged(&self.figures(&recent).await?);
        let step = |minutes: Range<u64>, figures: Figures| {
            let at_ms = minutes.start * MINUTE_MS;
            let end_ms = now_ms.min(minutes.end * MINUTE_MS);
            Step { at_ms, time: Duration::from_millis(end_ms - at_ms), figures }
        };
        Ok(Minutes {
            now_ms,
            recent: step(recent, recent_figures),
            boxes: boxes::of_all_steps(&steps),
            steps: range
                .zip(&steps)
                .map(|(n, read)| step(n * of_step..(n + 1) * of_step, read.figures.clone()))
                .collect(),
        })
    }

    /// The figures of each minute, of all shards.
    async fn figures(&self, range: &Range<u64>) -> Result<Vec<Figures>, QueueError> {
        let mut minutes = vec![Figures::default(); (range.end - range.start) as usize];
        for shard in self.shards() {
            let hashes = shard.hashes::<i64>("minute:", range).await?;
            for (minute, fields) in minutes.iter_mut().zip(&hashes) {
                minute.join(&Figures::read(fields));
            }
        }
        Ok(minutes)
    }
}

impl Shard {
    async fn boxes(&self, range: &Range<u64>) -> Result<Vec<Boxes>, QueueError> {
        let hashes = self.hashes::<String>("health:", range).await?;
        Ok(range.clone().zip(&hashes).map(|(minute, fields)| boxes_of(minute, fields)).collect())
    }

    async fn hashes<T: redis::FromRedisValue>(
        &self,
        name: &str,
        range: &Range<u64>,
    ) -> Result<Vec<Vec<(String, T)>>, QueueError> {
        let mut hashes = Vec::with_capacity((range.end - range.start) as usize);
        for first in range.clone().step_by(AT_ONCE) {
            let mut ask = redis::pipe();
            for minute in first..range.end.min(first + AT_ONCE as u64) {
                ask.cmd("HGETALL").arg(self.key(&format!("{name}{minute}")));
            }
            hashes.extend(self.link.run_all::<Vec<_>>(&ask).await?);
        }
        Ok(hashes)
    }
}
