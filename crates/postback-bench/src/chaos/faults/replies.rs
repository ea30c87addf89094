//! Faults between the daemons and Redis: lost answers.

use std::time::Duration;

use crate::chaos::{proxy::Script, trial::Scene};

/// A beat comes every 5 s from each deliver.
const PATIENCE: Duration = Duration::from_secs(20);

/// Cuts connections once Redis has done what these scripts ask and before the answer is through, so many of each.
pub(super) async fn cut(scene: &mut Scene, scripts: &[Script], times: u32) -> anyhow::Result<()> {
    for _ in 0..times {
        for script in scripts {
            let pause = Duration::from_millis(scene.rng.u64(100..700));
            tokio::time::sleep(pause).await; // a moment of load, never twice the same
            scene.proxy()?.cut(*script, PATIENCE).await?;
        }
    }
    scene.stack.until_ready().await
}
