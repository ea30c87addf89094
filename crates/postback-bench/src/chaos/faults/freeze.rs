//! Faults of time: processes that stand still and go on.

use std::time::Duration;

use anyhow::Context;

use crate::chaos::{stack::signal, trial::Scene};

/// Stops processes for so long, and lets them go on. They go on whatever becomes of the trial: it kills them.
async fn freeze(pids: &[u32], time: Duration) {
    signal(pids, "STOP");
    tokio::time::sleep(time).await; // standing still for so long is the fault
    signal(pids, "CONT");
}

/// Stops one deliver for so long.
pub(super) async fn deliver(scene: &mut Scene, time: Duration) -> anyhow::Result<()> {
    let pids = scene.stack.pids("deliver");
    let pid = *pids.first().context("no deliver runs")?;
    freeze(&[pid], time).await;
    scene.stack.until_ready().await
}

/// Stops Redis for so long.
pub(super) async fn redis(scene: &mut Scene, time: Duration) -> anyhow::Result<()> {
    freeze(&scene.stack.pids("redis-server"), time).await;
    scene.stack.until_ready().await
}

/// Stops every program of the stack, again and again.
pub(super) async fn all(scene: &mut Scene, time: Duration, times: u32) -> anyhow::Result<()> {
    for _ in 0..times {
        let pids: Vec<u32> = scene.stack.processes().iter().map(|process| process.pid).collect();
        freeze(&pids, time).await;
        let pause = Duration::from_millis(scene.rng.u64(500..1500));
        tokio::time::sleep(pause).await; // a moment of load, never twice the same
    }
    scene.stack.until_ready().await
}

/// Stops the partner for so long: connections are taken by its kernel, and later not even that.
pub(super) async fn sink(scene: &mut Scene, time: Duration) -> anyhow::Result<()> {
    freeze(&[scene.stack.sink_pid()], time).await;
    Ok(())
}
