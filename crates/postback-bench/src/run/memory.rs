//! Scenario `memory`: what deliver takes while a million rows wait, and for each request in flight.

use super::{
    Sizes,
    figures::Figure,
    rig::{Load, Parts, Rig},
};

/// MB (10^6 bytes) with a backlog, at most.
const BACKLOG_MB: f64 = 20.0;
/// KiB for a request in flight, at most.
const EACH_KIB: f64 = 12.0;

pub(super) async fn measure(sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts::default()).await?;
    rig.fill(Load::of(sizes.backlog, 1000)).await?;
    rig.deliver(1, &[]).await?;
    rig.drain(sizes.slice, false).await?;
    let peak = rig.deliver_memory("VmHWM")?;
    drop(rig);
    let each = for_each_in_flight(sizes.in_flight, sizes.held_for).await?;
    Ok(vec![
        Figure::new(format!("deliver, {} rows waiting, MB", sizes.backlog), peak / 1e6, 1)
            .most(BACKLOG_MB),
        Figure::new(
            format!("deliver, each of {} requests in flight, KiB", sizes.in_flight),
            each / 1024.0,
            1,
        )
        .most(EACH_KIB),
    ])
}

/// Bytes more, with so many in flight to one partner than with none, divided by their number.
async fn for_each_in_flight(in_flight: u64, held_for: &str) -> anyhow::Result<f64> {
    let mut rig = Rig::start(Parts { sink: &["--delay", held_for], ..Parts::default() }).await?;
    // A lane takes a slot while it uses less than half of those still free.
    let concurrency = (3 * in_flight + 64).to_string();
    let per_host = in_flight.to_string();
    rig.deliver(1, &["--concurrency", &concurrency, "--per-host", &per_host]).await?;
    let first = Load::of(100, 100);
    rig.load(first).await?;
    rig.until_arrived(first.all_rows()).await?;
    rig.until_settled().await?;
    let before = rig.deliver_memory("VmRSS")?;
    let load = Load::of(in_flight, 100);
    rig.load(load).await?;
    rig.until_arrived(first.all_rows() + load.all_rows()).await?;
    let with = rig.deliver_memory("VmRSS")?;
    rig.until_settled().await?;
    rig.check(first.all_rows() + load.all_rows()).await?;
    Ok((with - before) / in_flight as f64)
}
