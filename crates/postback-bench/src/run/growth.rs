//! Scenarios `growth` and `hosts`: whether a postback costs the same whatever waits, however many deliver processes there
//! are, and however many hosts.

use super::{
    Sizes,
    figures::{Figure, ratio},
    rig::{Load, Parts, Rig},
    used::Used,
};

/// How much more a postback may cost: a tenth.
const FLAT: f64 = 1.1;
/// deliver's CPU in the bare client's, at most.
const RATIO: f64 = 1.25;
/// Rows of a request, and so of a batch, where there are many hosts.
const ROWS: u64 = 20;
/// deliver's `--per-host` and `--concurrency` by default: as many requests are in flight at a time.
const PER_HOST: u64 = 64;
const CONCURRENCY: u64 = 512;
/// Numbers of deliver processes.
const PROCESSES: [u64; 3] = [1, 4, 16];

pub(super) async fn measure(sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut figures = vec![];
    let mut costs = vec![];
    for waiting in sizes.waiting {
        let cost = with_waiting(waiting, sizes.slice).await?;
        costs.push((format!("{waiting} rows waiting"), cost));
    }
    figures.extend(compared(&costs));
    costs.clear();
    let mut bare = vec![];
    for count in PROCESSES {
        let (cost, of_bare) = with_processes(count, sizes.rows).await?;
        costs.push((format!("{count} deliver"), cost));
        bare.push(of_bare);
    }
    figures.extend(compared(&costs));
    // What many processes cost by themselves, on cores that they share.
    figures.extend(PROCESSES.iter().zip(&bare).skip(1).map(|(count, cost)| {
        Figure::new(format!("CPU, {count} bare clients ÷ 1"), ratio(*cost, bare[0]), 2)
    }));
    Ok(figures)
}

/// deliver's and Redis's CPU seconds for 100,000 postbacks, of each kind, and next to the first kind.
fn compared(costs: &[(String, f64)]) -> Vec<Figure> {
    let cpu = |(kind, cost): &(String, f64)| {
        Figure::new(format!("{kind}: deliver and Redis CPU, s per 100k"), *cost, 2)
    };
    let grown = |pair: &[(String, f64)]| {
        Figure::new(format!("CPU, {} ÷ {}", pair[1].0, pair[0].0), ratio(pair[1].1, pair[0].1), 2)
            .most(FLAT)
    };
    let pairs = costs.iter().skip(1).map(|other| grown(&[costs[0].clone(), other.clone()]));
    costs.iter().map(cpu).chain(pairs).collect()
}

fn per_100k(used: Used, rows: f64) -> f64 {
    (used.deliver + used.redis) / rows * 100_000.0
}

/// The cost of a slice of the rows while so many wait; where fewer wait than that, they are filled in again and again.
async fn with_waiting(waiting: u64, slice: u64) -> anyhow::Result<f64> {
    let mut rig = Rig::start(Parts::default()).await?;
    let load = Load::of(waiting, 1000.min(waiting));
    rig.fill(load).await?;
    rig.deliver(1, &[]).await?;
    if waiting > slice {
        let drained = rig.drain(slice, false).await?;
        return Ok(per_100k(drained.used, drained.rows));
    }
    let (mut used, mut rows) = (Used::default(), 0);
    while rows < slice {
        if rows > 0 {
            rig.fill(load).await?;
        }
        used = used.and(rig.drain(waiting, true).await?.used);
        rows += waiting;
    }
    rig.check(rows).await?;
    Ok(per_100k(used, rows as f64))
}

/// The cost with so many deliver processes, and that of as many bare clients.
async fn with_processes(count: u64, rows: u64) -> anyhow::Result<(f64, f64)> {
    let mut rig = Rig::start(Parts::default()).await?;
    rig.fill(Load::of(rows, 1000)).await?;
    rig.deliver(count as usize, &[]).await?;
    let drained = rig.drain(rows, true).await?;
    rig.check(rows).await?;
    Ok((per_100k(drained.used, drained.rows), rig.bare_crew(count, rows).await?))
}

pub(super) async fn hosts(sizes: Sizes) -> anyhow::Result<Vec<Figure>> {
    let (mut figures, mut redis) = (vec![], vec![]);
    for hosts in sizes.hosts {
        let mut rig = Rig::start(Parts::default()).await?;
        let count = hosts.to_string();
        let load = Load { options: &["--hosts", &count], ..Load::of(sizes.single, ROWS) };
        rig.fill(load).await?;
        rig.deliver(1, &[]).await?;
        let drained = rig.drain(load.all_rows(), true).await?;
        rig.check(load.all_rows()).await?;
        let connections = rig.counts().await?.connections;
        let each = (drained.rows / connections.max(1) as f64).to_string();
        let at_a_time = (PER_HOST * hosts).min(CONCURRENCY).to_string();
        let options = ["--addresses", &count, "--each", &each, "--connections", &at_a_time];
        let bare = rig.bare(load.all_rows(), &options).await?;
        let what = |what: &str| format!("{hosts} hosts: {what}");
        let cpu = |used: f64| used / drained.rows * 100_000.0;
        let ratio = ratio(drained.used.deliver, bare.cpu_seconds);
        redis.push(cpu(drained.used.redis));
        figures.extend([
            Figure::new(what("Redis CPU, s per 100k"), cpu(drained.used.redis), 3),
            Figure::new(what("deliver CPU, s per 100k"), cpu(drained.used.deliver), 2),
            Figure::new(what("connections of deliver"), connections as f64, 0),
            Figure::new(what("connections of the bare client"), bare.connections as f64, 0),
            Figure::new(what("deliver's CPU ÷ the bare client's"), ratio, 2).most(RATIO),
        ]);
    }
    let what = format!("Redis's CPU, {} hosts ÷ {}", sizes.hosts[1], sizes.hosts[0]);
    figures.push(Figure::new(what, ratio(redis[1], redis[0]), 2).most(FLAT));
    Ok(figures)
}
