//! Scenario `slow`: how much of what the latency allows one deliver reaches with many requests in flight.
//!
//! The rows are for so many hosts, since one alone gets a third of a process. Counted is without the first tenth of the
//! rounds and the last, so that coming up and running out do not count. The latency is what the sink measured: its timer
//! is late by half a millisecond and more.

use std::time::Instant;

use super::{
    figures::{Figure, ratio},
    rig::{Load, Parts, Rig},
};

const HOSTS: u64 = 50;
/// Slots above those wanted that deliver keeps for lanes without any.
const MARGIN: u64 = 256;
/// How long the sink takes to answer.
const LATENCY: &str = "50ms";
/// What the sink measures of it at most, milliseconds: more would be a sink that gets no CPU, and no partner.
const LATE_MS: f64 = 53.0;

/// With so many in flight, each for so many rounds of requests.
pub(super) async fn measure(in_flight: [u64; 2], rounds: u64) -> anyhow::Result<Vec<Figure>> {
    let mut figures = vec![];
    for in_flight in in_flight {
        figures.extend(with(in_flight, rounds).await?);
    }
    Ok(figures)
}

async fn with(in_flight: u64, rounds: u64) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts { sink: &["--delay", LATENCY], ..Parts::default() }).await?;
    let each = (in_flight * rounds / HOSTS).next_multiple_of(100);
    let hosts = HOSTS.to_string();
    let load = Load { options: &["--hosts", &hosts], ..Load::of(each * HOSTS, 100) };
    rig.fill(load).await?;
    let per_host = in_flight / HOSTS;
    let concurrency = (in_flight + 2 * per_host + MARGIN).to_string();
    let per_host = per_host.to_string();
    rig.deliver(1, &["--concurrency", &concurrency, "--per-host", &per_host]).await?;
    rig.resume().await?;
    let edge = (rounds / 10).max(2) * in_flight;
    rig.until_arrived(edge).await?;
    let (start, first, before) = (Instant::now(), rig.counts().await?, rig.used().await?);
    rig.until_arrived(load.all_rows() - edge).await?;
    let (seconds, last) = (start.elapsed().as_secs_f64(), rig.counts().await?);
    let used = rig.used().await?.since(before);
    rig.until_settled().await?;
    rig.check(load.all_rows()).await?;
    let rate = (last.requests - first.requests) as f64 / seconds;
    let delayed = (last.delayed - first.delayed) as f64;
    let latency_ms = ratio((last.delayed_us - first.delayed_us) as f64, delayed) / 1000.0;
    let bound = in_flight as f64 / latency_ms * 1000.0;
    let what = |what: &str| format!("{in_flight} in flight, {what}");
    Ok(vec![
        Figure::new(what("share of in flight ÷ latency, %"), 100.0 * rate / bound, 1).least(95.0),
        Figure::new(what("latency, ms"), latency_ms, 1).most(LATE_MS),
        Figure::new(what("postbacks/s"), rate, 0),
        Figure::new(what("deliver, % of a core"), 100.0 * used.deliver / seconds, 0),
        Figure::new(what("Redis, % of a core"), 100.0 * used.redis / seconds, 0),
        Figure::new(what("sink, % of a core"), 100.0 * used.sink / seconds, 0),
    ])
}
