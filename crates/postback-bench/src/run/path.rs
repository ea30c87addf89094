//! Scenarios `redis-100`, `redis-1` and `bytes`: what a row costs from the request to where it waits, and on to settled
//! and logged.

use std::time::Instant;

use super::{
    figures::Figure,
    rig::{Drained, Load, Parts, Rig},
};

/// Redis's CPU seconds for 100,000 rows, at most.
const REDIS_100: f64 = 0.25;
const REDIS_1: f64 = 0.5;
/// Rows of a full batch.
const FULL: u64 = 256;

pub(super) async fn requests_of_100(rows: u64) -> anyhow::Result<Vec<Figure>> {
    path(Load::of(rows, 100), REDIS_100).await
}

pub(super) async fn requests_of_1(rows: u64) -> anyhow::Result<Vec<Figure>> {
    path(Load { clients: 64, ..Load::of(rows, 1) }, REDIS_1).await
}

async fn path(load: Load<'_>, goal: f64) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts::default()).await?;
    rig.deliver(1, &[]).await?;
    let Drained { used, seconds, rows } = at_once(&rig, load).await?;
    let cpu = |what: &str, used: f64| {
        Figure::new(format!("{what} CPU, s per 100k"), used / rows * 100_000.0, 3)
    };
    let bytes =
        |what: &str, bytes: f64| Figure::new(format!("{what} bytes per row"), bytes / rows, 0);
    Ok(vec![
        cpu("Redis", used.redis).most(goal),
        cpu("ingest", used.ingest),
        cpu("deliver", used.deliver),
        Figure::new("postbacks/s", rows / seconds, 0),
        bytes("Redis in,", used.net_in),
        bytes("Redis out,", used.net_out),
        bytes("append-only file,", used.aof),
        bytes("delivery log,", used.log),
    ])
}

/// Requests come while deliver is at work: from the first of them until all is settled and logged.
pub(super) async fn at_once(rig: &Rig, load: Load<'_>) -> anyhow::Result<Drained> {
    let (before, start) = (rig.used().await?, Instant::now());
    rig.load(load).await?;
    rig.until_arrived(load.all_rows()).await?;
    rig.until_settled().await?;
    let (seconds, used) = (start.elapsed().as_secs_f64(), rig.used().await?.since(before));
    rig.check(load.all_rows()).await?;
    Ok(Drained { used, seconds, rows: load.all_rows() as f64 })
}

pub(super) async fn bytes(rows: u64) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts::default()).await?;
    // Scripts are loaded and connections open before that is counted.
    let first = Load::of(FULL, FULL);
    rig.fill(first).await?;
    let load = Load::of(rows, FULL);
    let before = rig.used().await?;
    rig.fill(load).await?;
    let stored = rig.used().await?.since(before);
    rig.deliver(1, &[]).await?;
    let taken = rig.drain(first.all_rows() + load.all_rows(), true).await?;
    rig.check(first.all_rows() + load.all_rows()).await?;
    let bytes = |what: &str, bytes: f64, rows| {
        Figure::new(format!("{what} bytes per row"), bytes / rows, 1)
    };
    let stored_rows = load.all_rows() as f64;
    Ok(vec![
        bytes("memory,", stored.memory, stored_rows).most(80.0),
        bytes("into Redis by the enqueue,", stored.net_in, stored_rows).most(80.0),
        bytes("out of Redis by reserve and settle,", taken.used.net_out, taken.rows).most(80.0),
        bytes("append-only file, by the enqueue,", stored.aof, stored_rows).most(100.0),
        bytes("into Redis by reserve and settle,", taken.used.net_in, taken.rows),
        bytes("append-only file, by reserve and settle,", taken.used.aof, taken.rows),
    ])
}
