//! Scenarios `deliver-100`, `deliver-1`, `failing`: one deliver at its defaults drains a queue that was filled before.

use super::{
    figures::{Figure, ratio},
    rig::{Drained, Load, Parts, Rig},
};

/// Requests in flight to one partner: deliver's `--per-host` by default.
const CONNECTIONS: &str = "64";
/// deliver's CPU in the bare client's, at most.
const RATIO_100: f64 = 1.25;
const RATIO_1: f64 = 1.5;

pub(super) async fn batches_of_100(rows: u64) -> anyhow::Result<Vec<Figure>> {
    next_to_bare(Load::of(rows, 100), &[], RATIO_100).await
}

pub(super) async fn batches_of_1(rows: u64) -> anyhow::Result<Vec<Figure>> {
    let load = Load { clients: 64, ..Load::of(rows, 1) };
    next_to_bare(load, &["--coalesce", "off"], RATIO_1).await
}

async fn next_to_bare(load: Load<'_>, ingest: &[&str], goal: f64) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts { ingest, ..Parts::default() }).await?;
    let drained = fill_and_drain(&mut rig, load, &[]).await?;
    let peak = rig.deliver_memory("VmHWM")?;
    let rows = load.all_rows();
    let bare = rig.bare(rows, &["--connections", CONNECTIONS]).await?;
    let mut figures = figures(&drained, peak);
    let bare_cpu = bare.cpu_seconds / drained.rows * 100_000.0;
    figures.push(Figure::new("bare client CPU, s per 100k", bare_cpu, 2));
    figures.push(Figure::new("bare client, requests/s", drained.rows / bare.seconds, 0));
    let ratio = ratio(drained.used.deliver, bare.cpu_seconds);
    figures.push(Figure::new("deliver's CPU ÷ the bare client's", ratio, 2).most(goal));
    Ok(figures)
}

pub(super) async fn failing(rows: u64) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts { sink: &["--fail-every", "10"], ..Parts::default() }).await?;
    let retries = ["1s"; 20].join(",");
    let drained = fill_and_drain(&mut rig, Load::of(rows, 100), &["--retries", &retries]).await?;
    let peak = rig.deliver_memory("VmHWM")?;
    let attempts = rig.counts().await?.requests as f64;
    let mut figures = figures(&drained, peak);
    figures.push(Figure::new("attempts per postback", attempts / drained.rows, 3));
    Ok(figures)
}

/// Fills the queue, then lets one deliver take all.
pub(super) async fn fill_and_drain(
    rig: &mut Rig,
    load: Load<'_>,
    deliver: &[&str],
) -> anyhow::Result<Drained> {
    rig.fill(load).await?;
    rig.deliver(1, deliver).await?;
    let drained = rig.drain(load.all_rows(), true).await?;
    rig.check(load.all_rows()).await?;
    Ok(drained)
}

fn figures(drained: &Drained, peak: f64) -> Vec<Figure> {
    let cpu = |used: f64| used / drained.rows * 100_000.0;
    vec![
        Figure::new("postbacks/s", drained.rows / drained.seconds, 0),
        Figure::new("deliver CPU, s per 100k", cpu(drained.used.deliver), 2),
        Figure::new("Redis CPU of reserve and settle, s per 100k", cpu(drained.used.redis), 3),
        Figure::new("sink CPU, s per 100k", cpu(drained.used.sink), 2),
        Figure::new("deliver memory at most, MB", peak / 1e6, 1),
    ]
}
