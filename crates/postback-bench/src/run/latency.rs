//! Scenario `latency`: from when a request is due at ingest until its rows are at the partner, at half of the rate that is
//! reached and in an idle system; and what idle deliver processes cost Redis.

use std::time::Duration;

use tokio::time::sleep;

use super::{
    Sizes,
    figures::Figure,
    path::at_once,
    rig::{Load, Parts, Rig},
    used::{Counts, Used},
};

/// p99 at most, milliseconds.
const LOADED_MS: f64 = 5.0;
const IDLE_MS: f64 = 3.0;
/// What idle deliver processes cost Redis at most, in hundredths of a core.
const IDLE_CPU: f64 = 1.0;
/// Idle deliver processes.
const DELIVERS: usize = 16;
/// Single requests a second.
const SINGLE: &str = "20";

pub(super) async fn measure(sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut figures = at_half_load(sizes).await?;
    figures.extend(when_idle(sizes).await?);
    Ok(figures)
}

/// A closed loop tells what is reached; half of it is offered to another stack.
async fn at_half_load(sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts::default()).await?;
    rig.deliver(1, &[]).await?;
    let reached = at_once(&rig, Load::of(sizes.rows, 100)).await?;
    let mut rig = Rig::start(Parts::default()).await?;
    rig.deliver(1, &[]).await?;
    let first = warm_up(&rig).await?;
    let per_second = reached.rows / reached.seconds / 2.0;
    let rate = (per_second / 100.0).to_string();
    let requests = (per_second / 100.0 * sizes.seconds) as u64;
    let options = ["--timed", "--rate", &rate];
    let load = Load { requests: requests.max(1), rows: 100, clients: 64, options: &options };
    let counts = timed(&rig, load, first).await?;
    let mut figures = vec![Figure::new("half load, rows/s", per_second, 0)];
    figures.extend(waits("half load", counts, LOADED_MS));
    Ok(figures)
}

async fn when_idle(sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts::default()).await?;
    // By itself Redis looks around ten times a second.
    let alone = at_rest(&rig, sizes.seconds).await?;
    rig.deliver(DELIVERS, &[]).await?;
    let first = warm_up(&rig).await?;
    let idle = at_rest(&rig, sizes.seconds).await?;
    let requests = sizes.single_requests;
    let load = Load { requests, rows: 1, clients: 4, options: &["--timed", "--rate", SINGLE] };
    let counts = timed(&rig, load, first).await?;
    let share = |seconds: f64| 100.0 * seconds / sizes.seconds;
    let mut figures = waits("idle, 16 deliver, single requests", counts, IDLE_MS).to_vec();
    let more = share(idle.redis - alone.redis);
    figures.extend([
        Figure::new("idle: Redis without deliver, % of a core", share(alone.redis), 2),
        Figure::new("idle, 16 deliver: Redis, % of a core more", more, 2).most(IDLE_CPU),
        Figure::new("idle, 16 deliver: they, % of a core", share(idle.deliver), 2),
    ]);
    Ok(figures)
}

/// What is used in so many seconds without work, once polls are back at their slowest.
async fn at_rest(rig: &Rig, seconds: f64) -> anyhow::Result<Used> {
    sleep(Duration::from_secs(2)).await;
    let before = rig.used().await?;
    sleep(Duration::from_secs_f64(seconds)).await;
    Ok(rig.used().await?.since(before))
}

/// Connections are open and scripts loaded before waits count; the rows for that.
async fn warm_up(rig: &Rig) -> anyhow::Result<u64> {
    let load = Load::of(2000, 100);
    rig.load(load).await?;
    rig.until_arrived(load.all_rows()).await?;
    rig.until_settled().await?;
    Ok(load.all_rows())
}

/// Sends requests whose waits count, after so many rows.
async fn timed(rig: &Rig, load: Load<'_>, first: u64) -> anyhow::Result<Counts> {
    rig.load(load).await?;
    let rows = first + load.all_rows();
    rig.until_arrived(rows).await?;
    rig.until_settled().await?;
    rig.check(rows).await?;
    let counts = rig.counts().await?;
    let timed = counts.waits;
    anyhow::ensure!(timed == load.all_rows(), "{timed} of {} waits are known", load.all_rows());
    Ok(counts)
}

fn waits(what: &str, counts: Counts, most: f64) -> [Figure; 3] {
    let figure = |part: &str, us: Option<u64>| {
        Figure::new(format!("{what}: {part}, ms"), us.unwrap_or_default() as f64 / 1000.0, 2)
    };
    [
        figure("p50", counts.p50_us),
        figure("p99", counts.p99_us).most(most),
        figure("p99.9", counts.p999_us),
    ]
}
