//! What commands and pages do for an operator: revise a selection at a rate, limit hosts, pause the fleet.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::{
    endpoint::Origin,
    id::{LaneId, lane_name},
    queue::{LaneInfo, Queue, QueueError},
    select::Selection,
    view::time_text,
};

/// Rows that workers hold are tried again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// Given up when nothing could be revised for so long.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same at a rate: a worker holds a batch for as long as the rows take that were just replayed, 60 s at most.
const RATE_PATIENCE: Duration = Duration::from_secs(75);
/// At a rate, rows go out in portions this far apart.
const PORTION: Duration = Duration::from_millis(100);
/// So many rows are revised between two looks at whether it shall go on, where there is no rate.
const STEP: usize = 10_000;

/// A selection that is being revised.
#[derive(Debug)]
pub struct Acting {
    selection: Selection,
    credit: Credit,
    patience: Duration,
    last: Instant,
}

impl Acting {
    /// Begins; `rate`: at most so many rows a second, `None`: all at once.
    #[must_use]
    pub fn new(selection: Selection, rate: Option<f64>) -> Acting {
        let now = Instant::now();
        let patience = if rate.is_some() { RATE_PATIENCE } else { PATIENCE };
        Acting { selection, credit: Credit { rate, rows: 1.0, at: now }, patience, last: now }
    }

    /// Revises the next portion; how many rows were changed, `None` when all is done that can be.
    ///
    /// # Errors
    /// When Redis fails; it may be called again.
    pub async fn go_on(&mut self, queue: &Queue) -> Result<Option<u64>, QueueError> {
        let room = self.credit.whole();
        if !self.selection.is_over() && room > 0 {
            let rows = self.selection.step(queue, room).await?;
            self.credit.spend(rows);
            if rows > 0 {
                self.last = Instant::now();
            }
            return Ok(Some(rows));
        }
        if self.selection.is_over() {
            if self.selection.passed_over() == 0 || self.last.elapsed() > self.patience {
                return Ok(None);
            }
            sleep(AGAIN).await;
            self.selection.try_again();
        } else {
            sleep(PORTION).await;
        }
        self.credit.grow();
        Ok(Some(0))
    }

    /// What is being revised.
    #[must_use]
    pub fn selection(&self) -> &Selection {
        &self.selection
    }
}

/// How many rows may be replayed by now. What is not used is kept for a portion, not for later.
#[derive(Debug)]
struct Credit {
    rate: Option<f64>,
    rows: f64,
    at: Instant,
}

impl Credit {
    fn whole(&self) -> usize {
        if self.rate.is_some() { self.rows as usize } else { STEP }
    }

    fn spend(&mut self, rows: u64) {
        self.rows -= rows as f64;
    }

    fn grow(&mut self) {
        let gone = self.at.elapsed().as_secs_f64();
        self.at = Instant::now();
        if let Some(rate) = self.rate {
            let most = (2.0 * PORTION.as_secs_f64() * rate).max(1.0);
            self.rows = (self.rows + gone * rate).min(most);
        }
    }
}

/// Gives the lanes of these origins a rate in rows a second over the whole fleet (0 stops them, `None` lifts the limit):
/// those with this label, or all that are known. Returns their names.
///
/// # Errors
/// When Redis fails.
pub async fn limit(
    queue: &Queue,
    origins: &[Origin],
    label: Option<&str>,
    rate: Option<f64>,
) -> Result<Vec<String>, QueueError> {
    let of_origin = |origin| (LaneId::of(origin, label), lane_name(origin, label));
    let mut lanes: Vec<(LaneId, String)> = origins.iter().map(of_origin).collect();
    if label.is_none() {
        for shard in queue.shards() {
            let known = shard.lane_infos().await?.into_iter();
            lanes.extend(known.filter(|info| is_labelled(info, origins)).map(|i| (i.lane, i.name)));
        }
    }
    for shard in queue.shards() {
        let here = |lane: &LaneId| std::ptr::eq(queue.shard_of(*lane), shard);
        let mine: Vec<_> = lanes.iter().filter(|(lane, _)| here(lane)).cloned().collect();
        if !mine.is_empty() {
            shard.limit(&mine, rate).await?;
        }
    }
    Ok(lanes.into_iter().map(|(_, name)| name).collect())
}

/// Whether this is a labelled lane of one of the origins.
fn is_labelled(info: &LaneInfo, origins: &[Origin]) -> bool {
    let starts = |origin| {
        info.name.strip_prefix(&lane_name(origin, None)).is_some_and(|rest| rest.starts_with(' '))
    };
    origins.iter().any(starts)
}

/// Pauses the whole fleet; returns what those read who find it paused.
///
/// # Errors
/// When Redis fails.
pub async fn pause(queue: &Queue, who: &str, reason: &str) -> Result<String, QueueError> {
    let now = time_text(queue.shards()[0].now_ms().await?);
    let mut text = format!("by {who} since {now}");
    if !reason.is_empty() {
        text = format!("{text}: {reason}");
    }
    for shard in queue.shards() {
        shard.pause(&text).await?;
    }
    Ok(text)
}
