//! Faults of disks: a long start, a full disk under the append-only file, a full disk under the logs.

use std::{
    fs::File,
    io::{ErrorKind, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::ask;
use crate::chaos::{
    stack::{Stack, signal},
    tell,
    trial::Scene,
};

/// Keys beside ours that Redis has to load, in calls of so many: 160 MB of append-only file, about 6 s of loading.
const FILLERS: u32 = 200;
const FILLERS_A_CALL: u32 = 20_000;
const FILL: &str =
    "for i = 1, ARGV[2] do redis.call('SET', 'filler:' .. ARGV[1] .. ':' .. i, 'x') end";
/// How long a disk stays full.
const FULL: Duration = Duration::from_secs(8);
/// Within this a full disk shows.
const SHOWS: Duration = Duration::from_secs(20);
/// Within this Redis has loaded.
const LOADS: Duration = Duration::from_secs(120);
const LOOK: Duration = Duration::from_millis(20);

/// Gives Redis much to load.
pub(super) async fn fill_redis(stack: &Stack) -> anyhow::Result<()> {
    for n in 0..FILLERS {
        let words = ["EVAL", FILL, "0", &n.to_string(), &FILLERS_A_CALL.to_string()];
        ask::<()>(stack, &words).await?;
    }
    Ok(())
}

/// Kills Redis; while it loads, clients are refused. Nobody needs a restart.
pub(super) async fn slow_load(scene: &mut Scene) -> anyhow::Result<()> {
    let daemons = |scene: &Scene| [scene.stack.pids("deliver"), scene.stack.pids("ingest")];
    let before = daemons(scene);
    signal(&scene.stack.pids("redis-server"), "KILL");
    let (since, mut loading, mut refused) = (Instant::now(), None, 0);
    let loaded = loop {
        let said = ask::<String>(&scene.stack, &["PING"]).await.map_err(|error| error.to_string());
        match said {
            Ok(_) => break Instant::now(),
            Err(error) if error.to_lowercase().contains("loading") => {
                if loading.is_none() {
                    (loading, refused) = (Some(Instant::now()), scene.generator.refused());
                }
            }
            Err(_) => {}
        }
        anyhow::ensure!(since.elapsed() < LOADS, "redis did not load in {LOADS:?}");
        tokio::time::sleep(LOOK).await;
    };
    let time = loading.map(|loading| loaded - loading).unwrap_or_default();
    tell(format_args!("redis loaded for {time:.1?}"));
    anyhow::ensure!(time > Duration::from_secs(1), "redis loaded too fast to be seen");
    anyhow::ensure!(scene.generator.refused() > refused, "ingest refused nothing meanwhile");
    scene.stack.until_ready().await?;
    anyhow::ensure!(before == daemons(scene), "a daemon was started anew");
    Ok(())
}

/// Fills the disk of the append-only file for a while.
pub(super) async fn full_aof(scene: &mut Scene) -> anyhow::Result<()> {
    let refused = scene.generator.refused();
    let filler = Filler::new(&scene.stack.path(AOF))?;
    let since = Instant::now();
    while scene.generator.refused() == refused {
        filler.fill()?;
        anyhow::ensure!(since.elapsed() < SHOWS, "a full disk does not make ingest refuse");
        tokio::time::sleep(LOOK).await;
    }
    tokio::time::sleep(FULL).await; // full for so long is the fault
    drop(filler);
    scene.stack.until_ready().await
}

/// Fills the disk of all programs' logs for a while, under deliveries that are all logged.
pub(super) async fn full_logs(scene: &mut Scene) -> anyhow::Result<()> {
    let filler = Filler::new(&scene.stack.path(LOGS))?;
    filler.fill()?;
    let accepted = scene.generator.accepted();
    tokio::time::sleep(FULL).await; // full for so long is the fault
    let left = scene.stack.shard()?.stats().await?.pending;
    let taken = scene.generator.accepted() - accepted;
    tell(format_args!("{taken} rows were taken while the disk was full, {left} are pending"));
    // Pipes that nobody empties would have stopped ingest or deliver by now.
    anyhow::ensure!(taken > 1000 && left < taken / 2, "full logs hold the daemons up");
    drop(filler);
    Ok(())
}

/// The folders that have disks of their own.
pub(super) const AOF: &str = "redis";
pub(super) const LOGS: &str = "log";

/// A file that takes what room a disk has, until it is dropped.
struct Filler {
    path: PathBuf,
    file: File,
}

impl Filler {
    fn new(folder: &Path) -> anyhow::Result<Filler> {
        let path = folder.join("filler");
        Ok(Filler { file: File::create(&path)?, path })
    }

    /// Takes what room there is now.
    fn fill(&self) -> anyhow::Result<()> {
        for piece in [1 << 20, 1 << 12, 1] {
            loop {
                match (&self.file).write(&vec![0; piece]) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        // With the disk it is gone as well.
        drop(std::fs::remove_file(&self.path));
    }
}
