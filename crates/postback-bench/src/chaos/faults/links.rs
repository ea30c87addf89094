//! Faults of the network: the links between delivers and Redis.

use std::time::Duration;

use crate::chaos::{stack::set_link, trial::Scene};

/// Takes the links of the first so many boxes to Redis down for a time. The partner stays within reach.
pub(super) async fn down(scene: &mut Scene, boxes: u64, time: Duration) -> anyhow::Result<()> {
    (0..boxes).try_for_each(|n| set_link(n, false))?;
    tokio::time::sleep(time).await; // being down for so long is the fault
    (0..boxes).try_for_each(|n| set_link(n, true))?;
    scene.stack.until_ready().await
}
