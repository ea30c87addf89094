//! Some of the batches with pending rows, the newest first, found without reading them all.

use std::collections::HashSet;

use super::{QueueError, Shard};
use crate::id::{BatchId, LaneId};

/// The most lanes that are looked into.
const LANES: usize = 1000;
/// About so many ids are looked at in all lanes' lists, and as many that are due.
const IDS: usize = 2000;

/// What was found.
#[derive(Debug, Default)]
pub struct Newest {
    /// The batches, with the time of storing (milliseconds since 1970, Redis's time), the newest first.
    pub batches: Vec<(BatchId, u64)>,
    /// Whether there are others.
    pub is_more: bool,
}

impl Shard {
    /// Batches with pending rows, the latest stored first, of these lanes or of any: what workers hold, what is due first
    /// and the tails of the lanes' lists, where new ones come in.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn newest_pending(
        &self,
        lanes: Option<&HashSet<LaneId>>,
    ) -> Result<Newest, QueueError> {
        let mut newest = Newest::default();
        let mut ids: HashSet<BatchId> = self.all_held().await?.into_iter().collect();
        let mut ask = redis::cmd("ZRANGE");
        ask.arg(self.key("due")).arg(0).arg(IDS - 1);
        let due: Vec<String> = self.link.run(&ask).await?;
        newest.is_more |= due.len() == IDS;
        ids.extend(due.iter().filter_map(|id| id.parse::<BatchId>().ok()));
        ids.extend(self.tails(lanes, &mut newest.is_more).await?);
        ids.retain(|id| lanes.is_none_or(|lanes| lanes.contains(&id.lane())));
        let ids: Vec<BatchId> = ids.into_iter().collect();
        if ids.is_empty() {
            return Ok(newest);
        }
        let mut stamps = redis::pipe();
        for id in &ids {
            stamps.cmd("GETRANGE").arg(self.key(&format!("batch:{id}"))).arg(0).arg(7);
        }
        let stamps: Vec<Vec<u8>> = self.link.run_all(&stamps).await?;
        let stamped = ids
            .into_iter()
            .zip(stamps)
            .filter_map(|(id, stamp)| Some((id, u64::from_be_bytes(stamp.try_into().ok()?))));
        newest.batches = stamped.collect();
        newest.batches.sort_by_key(|(id, stored_ms)| (u64::MAX - stored_ms, *id));
        Ok(newest)
    }

    /// The lanes to these hosts (`host:port`), whatever their scheme and label.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn lanes_of(&self, hosts: &[String]) -> Result<HashSet<LaneId>, QueueError> {
        let (mut lanes, mut cursor) = (HashSet::new(), 0u64);
        loop {
            let mut ask = redis::cmd("HSCAN");
            ask.arg(self.key("names")).arg(cursor).arg("COUNT").arg(LANES);
            let (next, names): (u64, Vec<(String, String)>) = self.link.run(&ask).await?;
            let is_asked = |name: &str| {
                let origin = name.split(' ').next().unwrap_or_default();
                hosts.iter().any(|host| origin.split_once("://").is_some_and(|(_, at)| at == host))
            };
            let of_hosts = names.iter().filter(|(_, name)| is_asked(name));
            lanes.extend(of_hosts.filter_map(|(lane, _)| lane.parse::<LaneId>().ok()));
            cursor = next;
            if cursor == 0 {
                return Ok(lanes);
            }
        }
    }

    /// The ends of lanes' lists.
    async fn tails(
        &self,
        lanes: Option<&HashSet<LaneId>>,
        is_more: &mut bool,
    ) -> Result<Vec<BatchId>, QueueError> {
        let lanes: Vec<LaneId> = match lanes {
            Some(lanes) => lanes.iter().copied().collect(),
            None => self.lanes(LANES + 1).await?,
        };
        *is_more |= lanes.len() > LANES;
        let lanes = &lanes[..lanes.len().min(LANES)];
        if lanes.is_empty() {
            return Ok(Vec::new());
        }
        let each = (IDS / lanes.len()).max(2);
        let mut ask = redis::pipe();
        for lane in lanes {
            ask.cmd("LRANGE").arg(self.key(&format!("lane:{lane}"))).arg(-(each as isize)).arg(-1);
        }
        let tails: Vec<Vec<String>> = self.link.run_all(&ask).await?;
        *is_more |= tails.iter().any(|tail| tail.len() == each);
        Ok(tails.iter().flatten().filter_map(|id| id.parse().ok()).collect())
    }
}
