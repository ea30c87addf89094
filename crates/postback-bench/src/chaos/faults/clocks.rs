//! Faults of clocks (libfaketime), and of descriptors: programs that start in another environment than usual.

use std::{
    fs,
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;

use super::ask;
use crate::chaos::{stack::Before, tell, trial::Scene};

/// What the shell does before a program starts whose clock is to jump: it reads it anew from `clock` at each look. The
/// monotonic clock stays as it is, as it does when a box's clock is set.
const FAKE: &str = r#"[ -e "$run/clock" ] || echo +0 >"$run/clock"
export FAKETIME_TIMESTAMP_FILE="$run/clock" FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1
export DONT_FAKE_MONOTONIC=1 LD_PRELOAD="$(faketime -m -f +0 printenv LD_PRELOAD)""#;
const CLOCK: &str = "clock";
/// How long a wrong clock is kept.
const WRONG: Duration = Duration::from_secs(6);
const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// The first deliver has a clock of its own.
pub(super) fn of_a_deliver(before: &mut Before) {
    let text = format!("if [ \"$SUPERVISOR_PROCESS_NAME\" = deliver_00 ]; then\n{FAKE}\nfi");
    before.push(("deliver", text));
}

/// Redis has a clock of its own.
pub(super) fn of_redis(before: &mut Before) {
    // Debian's Redis has jemalloc, which asks for the time as it starts, and libfaketime asks for memory to tell it.
    before.push(("redis-server", format!("{FAKE}\nLD_PRELOAD=\"$LD_PRELOAD libc.so.6\"")));
}

/// The daemons may open so few files.
pub(super) fn few_files(before: &mut Before, most: u32) {
    before.push(("deliver", format!("ulimit -n {most}")));
}

/// Sets one deliver's clock forward and back while it runs.
pub(super) async fn deliver(scene: &mut Scene) -> anyhow::Result<()> {
    let fake = |pid: &&u32| {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
        maps.contains("libfaketime")
    };
    let fakes = scene.stack.pids("deliver").iter().filter(fake).count();
    anyhow::ensure!(fakes == 1, "{fakes} delivers have a clock of their own: install faketime");
    for seconds in [HOUR, -HOUR, DAY, -DAY, 0] {
        set(&scene.stack.path(CLOCK), seconds)?;
        tokio::time::sleep(WRONG).await; // wrong for so long is the fault
    }
    Ok(())
}

/// Sets Redis's clock back, for good.
pub(super) async fn redis(scene: &mut Scene) -> anyhow::Result<()> {
    set(&scene.stack.path(CLOCK), -HOUR)?;
    let (seconds, _): (i64, i64) = ask(&scene.stack, &["TIME"]).await?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let off = seconds - i64::try_from(now)?;
    tell(format_args!("redis's clock is {off} s off"));
    anyhow::ensure!((off + HOUR).abs() < 60, "redis has no clock of its own: install faketime");
    tokio::time::sleep(2 * WRONG).await; // wrong for so long is the fault
    Ok(())
}

/// Sets a clock so many seconds forward, at once for who reads it.
fn set(clock: &Path, seconds: i64) -> anyhow::Result<()> {
    let new = clock.with_extension("new");
    fs::write(&new, format!("{seconds:+}\n"))?;
    fs::rename(&new, clock).context("cannot set the clock")
}

/// Looks on while a deliver that may open few files is short of them.
pub(super) async fn descriptors(scene: &mut Scene, most: u64) -> anyhow::Result<()> {
    let mut open = 0;
    for _ in 0..100 {
        for pid in scene.stack.pids("deliver") {
            open = open.max(fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64);
        }
        tokio::time::sleep(WRONG / 60).await;
    }
    tell(format_args!("a deliver had at most {open} of {most} descriptors open"));
    anyhow::ensure!(open <= most && open > most / 2, "descriptors were not short");
    Ok(())
}
