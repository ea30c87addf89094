//! What an operator sees and changes of lanes: names, what waits, rates, breakers.
//!
//! How a rate is kept is in `queue/reserve.lua`: rows of a limited lane need slots.

use redis::FromRedisValue;

use super::{QueueError, Reply, SCRIPTS, Shard};
use crate::id::LaneId;

/// So many lanes are asked for at a time.
const PAGE: usize = 500;

/// A lane as Redis knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct LaneInfo {
    /// The lane.
    pub lane: LaneId,
    /// Its name for people ([`crate::id::lane_name`]).
    pub name: String,
    /// Batches that are ready in it.
    pub ready: u64,
    /// From when it may be served, milliseconds since 1970, Redis's time; `None`: nothing is ready.
    pub from_ms: Option<u64>,
    /// Its rate in rows a second, 0: none is served; `None`: no limit.
    pub rate: Option<f64>,
    /// Since when it is parked (milliseconds since 1970, Redis's time), and why.
    pub parked: Option<(u64, String)>,
}

impl Shard {
    /// Every lane that has a name, in no order.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn lane_infos(&self) -> Result<Vec<LaneInfo>, QueueError> {
        let mut infos = Vec::new();
        let mut cursor = 0u64;
        loop {
            let mut ask = redis::cmd("HSCAN");
            ask.arg(self.key("names")).arg(cursor).arg("COUNT").arg(PAGE);
            let (next, names): (u64, Vec<(String, String)>) = self.link.run(&ask).await?;
            for page in names.chunks(PAGE) {
                infos.extend(self.lane_page(page).await?);
            }
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        // HSCAN may tell a field twice.
        infos.sort_by_key(|info| info.lane);
        infos.dedup_by_key(|info| info.lane);
        Ok(infos)
    }

    async fn lane_page(&self, names: &[(String, String)]) -> Result<Vec<LaneInfo>, QueueError> {
        let known: Vec<(LaneId, &String)> =
            names.iter().filter_map(|(lane, name)| Some((lane.parse().ok()?, name))).collect();
        if known.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::pipe();
        for (lane, _) in &known {
            ask.cmd("LLEN").arg(self.key(&format!("lane:{lane}")));
            ask.cmd("ZSCORE").arg(self.key("lanes")).arg(lane.as_str());
            ask.cmd("HGET").arg(self.key("limits")).arg(lane.as_str());
            ask.cmd("HGET").arg(self.key("breakers")).arg(lane.as_str());
        }
        let answers: Vec<redis::Value> = self.link.run_all(&ask).await?;
        let bad = super::work::bad;
        let mut infos = Vec::with_capacity(known.len());
        for ((lane, name), answer) in known.into_iter().zip(answers.chunks_exact(4)) {
            let parked = Option::<String>::from_redis_value_ref(&answer[3]).map_err(bad)?;
            let from = Option::<f64>::from_redis_value_ref(&answer[1]).map_err(bad)?;
            infos.push(LaneInfo {
                lane,
                name: name.clone(),
                ready: u64::from_redis_value_ref(&answer[0]).map_err(bad)?,
                from_ms: from.map(|ms| ms as u64),
                rate: Option::from_redis_value_ref(&answer[2]).map_err(bad)?,
                parked: parked.map(|text| {
                    let mut parts = text.splitn(3, ' ');
                    let since = parts.next().and_then(|since| since.parse().ok());
                    (since.unwrap_or_default(), parts.nth(1).unwrap_or_default().to_owned())
                }),
            });
        }
        Ok(infos)
    }

    /// Gives lanes of this shard, each with its name, a rate in rows a second over the whole fleet; 0 stops them,
    /// `None` lifts the limit. Workers give back what they hold within half a second.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn limit(
        &self,
        lanes: &[(LaneId, String)],
        rate: Option<f64>,
    ) -> Result<(), QueueError> {
        let rate = rate.map(|rate| rate.to_string()).unwrap_or_default();
        let _: Reply = self
            .script(&SCRIPTS.limit, |c| {
                c.arg(rate);
                for (lane, name) in lanes {
                    c.arg(lane.as_str()).arg(name);
                }
            })
            .await?;
        Ok(())
    }
}
