//! Faults of Redis itself.

use std::time::Duration;

use crate::chaos::trial::Scene;

/// Below a lease of 30 s.
const AWAY: Duration = Duration::from_secs(20);

/// Stops Redis and starts it again later.
pub(super) async fn away(scene: &mut Scene) -> anyhow::Result<()> {
    scene.stack.supervisorctl(&["stop", "redis"]).await?;
    tokio::time::sleep(AWAY).await; // away for so long is the fault
    scene.stack.supervisorctl(&["start", "redis"]).await?;
    scene.stack.until_ready().await
}
