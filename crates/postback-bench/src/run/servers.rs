//! Scenarios `ingest-1` and `ingest-100`: ingest next to a bare actix-web server that parses the same bodies.

use super::{
    figures::{Figure, ratio},
    rig::{Load, Parts, Rig, send},
};
use crate::isolation::{
    measure::cpu_seconds,
    stack::{listening, program},
};

/// ingest's CPU in the bare server's, at most.
const RATIO_1: f64 = 2.0;
const RATIO_100: f64 = 1.3;

pub(super) async fn requests_of_1(requests: u64) -> anyhow::Result<Vec<Figure>> {
    next_to_bare(Load { clients: 64, ..Load::of(requests, 1) }, RATIO_1).await
}

pub(super) async fn requests_of_100(requests: u64) -> anyhow::Result<Vec<Figure>> {
    next_to_bare(Load::of(100 * requests, 100), RATIO_100).await
}

async fn next_to_bare(load: Load<'_>, goal: f64) -> anyhow::Result<Vec<Figure>> {
    let rig = Rig::start(Parts::default()).await?;
    let before = rig.used().await?;
    let seconds = rig.load(load).await?;
    let used = rig.used().await?.since(before);
    rig.check_stored(load.all_rows()).await?;
    let port = rig.stack.port;
    drop(rig);
    let (bare, bare_seconds) = bare(port, load).await?;
    let requests = load.requests as f64;
    let cpu = |used: f64| used / requests * 100_000.0;
    Ok(vec![
        Figure::new("ingest CPU, s per 100k requests", cpu(used.ingest), 2),
        Figure::new("bare server CPU, s per 100k requests", cpu(bare), 2),
        Figure::new("ingest's CPU ÷ the bare server's", ratio(used.ingest, bare), 2).most(goal),
        Figure::new("Redis CPU, s per 100k requests", cpu(used.redis), 2),
        Figure::new("requests/s", requests / seconds, 0),
        Figure::new("bare server, requests/s", requests / bare_seconds, 0),
    ])
}

/// CPU seconds of the bare server under this load, and how long it took. `port` is the endpoint's.
async fn bare(port: u16, load: Load<'_>) -> anyhow::Result<(f64, f64)> {
    let (server, listen) = listening(program("postback-bench")?.arg("bare-server"))?;
    let before = cpu_seconds(server.pid())?;
    let seconds = send(&format!("127.0.0.1:{listen}"), port, load).await?;
    Ok((cpu_seconds(server.pid())? - before, seconds))
}
