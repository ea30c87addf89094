//! Faults of the programs: killed, stopped, restarted by supervisord.

use std::time::{Duration, Instant};

use anyhow::Context;

use crate::chaos::{stack::signal, tell, trial::Scene};

/// How long supervisord may take to start a program anew, and the program to serve.
const BACK: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(50);

/// The control's load goes on for so long.
const UNDISTURBED: Duration = Duration::from_secs(4);

/// No fault.
pub(super) async fn nothing() -> anyhow::Result<()> {
    tokio::time::sleep(UNDISTURBED).await;
    Ok(())
}

/// Kills a process of a program, at random moments, and each time waits until all is back.
pub(super) async fn kill(scene: &mut Scene, program: &str, times: u32) -> anyhow::Result<()> {
    for n in 1..=times {
        pause(scene).await;
        let pids = scene.stack.pids(program);
        anyhow::ensure!(!pids.is_empty(), "no {program} runs");
        let pid = pids[scene.rng.usize(..pids.len())];
        signal(&[pid], "KILL");
        until_replaced(scene, program, pids.len(), &[pid]).await?;
        tell(format_args!("{program} killed, {n} of {times}"));
    }
    Ok(())
}

/// Ends the delivers by SIGTERM, one after the other.
pub(super) async fn stop(scene: &mut Scene, times: u32) -> anyhow::Result<()> {
    for _ in 0..times {
        pause(scene).await;
        // Oldest first, so that each has its turn.
        let mut pids = scene.stack.pids("deliver");
        pids.sort_unstable();
        let pid = *pids.first().context("no deliver runs")?;
        signal(&[pid], "TERM");
        until_replaced(scene, "deliver", pids.len(), &[pid]).await?;
    }
    Ok(())
}

/// Has supervisord restart programs, five times each.
pub(super) async fn restart(scene: &mut Scene, programs: &[&str]) -> anyhow::Result<()> {
    for n in 1..=5 {
        for program in programs {
            pause(scene).await;
            scene.stack.supervisorctl(&["restart", program]).await?;
            scene.stack.until_ready().await?;
        }
        tell(format_args!("{} restarted, {n} of 5", programs.join(", ")));
    }
    Ok(())
}

/// A moment of load, never twice the same.
async fn pause(scene: &mut Scene) {
    let ms = scene.rng.u64(500..2000);
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

/// Waits until as many processes of a program run as before, these not among them, and all serve.
async fn until_replaced(
    scene: &mut Scene,
    program: &str,
    count: usize,
    gone: &[u32],
) -> anyhow::Result<()> {
    let since = Instant::now();
    loop {
        let pids = scene.stack.pids(program);
        if pids.len() >= count && gone.iter().all(|pid| !pids.contains(pid)) {
            return scene.stack.until_ready().await;
        }
        anyhow::ensure!(
            since.elapsed() < BACK,
            "supervisord did not start {program} anew in {BACK:?}"
        );
        tokio::time::sleep(LOOK).await;
    }
}
