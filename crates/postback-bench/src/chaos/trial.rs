//! One trial: a stack under load, a fault, and what the journals say afterwards.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufWriter, Write as _},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use postback_core::queue::Shard;

use super::{
    check::{Health, Report, Sample, check, judge},
    faults::Fault,
    generator::{Generator, Load},
    journal::{Journals, Logged},
    proxy::Proxy,
    script::{Mix, Script},
    stack::{Settings, Stack, proxy_socket, redis_socket, sample},
    tell,
};

/// How often it is looked whether the backlog is gone.
const LOOK: Duration = Duration::from_millis(100);

/// What a trial is made of; a fault changes it as it needs.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) settings: Settings,
    pub(super) script: Script,
    pub(super) load: Load,
    /// How long the load runs before the fault and after it.
    pub(super) before: Duration,
    pub(super) after: Duration,
}

impl Plan {
    fn usual(seed: u64) -> Plan {
        Plan {
            settings: Settings::default(),
            script: Script { seed, retries_ms: vec![1000, 2000], mix: Mix::Usual },
            load: Load { rate: 40, most: u64::MAX },
            before: Duration::from_secs(3),
            after: Duration::from_secs(2),
        }
    }
}

/// What a fault is staged on.
pub(super) struct Scene {
    pub(super) stack: Stack,
    pub(super) generator: Generator,
    pub(super) rng: fastrand::Rng,
    proxy: Option<Proxy>,
}

impl Scene {
    /// The proxy before Redis.
    pub(super) fn proxy(&self) -> anyhow::Result<&Proxy> {
        self.proxy.as_ref().context("the trial has no proxy")
    }
}

/// What came of a trial.
pub(super) struct Outcome {
    pub(super) report: Report,
    pub(super) drained: Option<Duration>,
    /// How long the whole trial took.
    pub(super) took: Duration,
}

/// Runs a fault's trial; what it leaves is in `folder`.
pub(super) async fn run(
    root: &Path,
    folder: &Path,
    fault: &Fault,
    seed: u64,
) -> anyhow::Result<Outcome> {
    let start = Instant::now();
    let mut plan = Plan::usual(seed);
    (fault.plan)(&mut plan);
    let proxy =
        plan.settings.proxied.then(|| Proxy::start(&proxy_socket(folder), redis_socket(folder)));
    let proxy = proxy.transpose()?;
    let stack = Stack::start(root, folder, &plan.settings).await?;
    (fault.prepare)(&stack).await?;
    let journal = folder.join(Journals::REQUESTS);
    let generator =
        Generator::start(plan.script, &plan.load, stack.listen, &stack.hosts, &journal)?;
    let rng = fastrand::Rng::with_seed(seed);
    let mut scene = Scene { stack, generator, rng, proxy };
    tokio::time::sleep(plan.before).await;
    let warm = sample(&scene.stack.processes());
    (fault.stage)(&mut scene).await?;
    let healed = Instant::now();
    tell(format_args!(
        "{}: staged in {:.0?}, {} rows accepted so far",
        fault.name,
        start.elapsed(),
        scene.generator.accepted()
    ));
    tokio::time::sleep(plan.after).await;
    scene.generator.stop().await?;
    let shard = scene.stack.shard()?;
    let mut end = BTreeMap::new();
    let left = until_drained(&scene.stack, &shard, healed + fault.within, &mut end).await;
    let health = Health {
        drained: left.is_none().then(|| healed.elapsed()),
        within: fault.within,
        left: left.unwrap_or_default(),
        warm,
        end,
        log_bytes: shard.stats().await?.log_bytes,
    };
    tell(format_args!("{}: {}", fault.name, health.figures()));
    write_log(&shard, &folder.join(Journals::LOG)).await?;
    drop(scene.stack);
    let mut report = check(&Journals::read(folder)?, fault.allowed);
    judge(&health, &mut report);
    Ok(Outcome { report, drained: health.drained, took: start.elapsed() })
}

/// Waits until nothing is pending, held or in flight; tells what is left at the deadline.
///
/// `most` becomes what each program took at most in that time; Redis, which holds what is left, at the end.
async fn until_drained(
    stack: &Stack,
    shard: &Shard,
    deadline: Instant,
    most: &mut BTreeMap<String, Sample>,
) -> Option<String> {
    // Twice in a row: an outcome may be on its way into the log.
    let mut empty = 0;
    loop {
        let now = sample(&stack.processes());
        most.retain(|program, _| now.contains_key(program));
        for (program, now) in now {
            let most = most.entry(program.clone()).or_default();
            let least = if program == "redis-server" { Sample::default() } else { *most };
            *most =
                Sample { memory: now.memory.max(least.memory), files: now.files.max(least.files) };
        }
        let left = left(stack, shard).await.unwrap_or_else(|error| Some(format!("{error:#}")));
        empty = if left.is_none() { empty + 1 } else { 0 };
        if empty == 2 {
            return None;
        }
        if left.is_some() && Instant::now() > deadline {
            return left;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn left(stack: &Stack, shard: &Shard) -> anyhow::Result<Option<String>> {
    let (pending, in_flight) = (shard.stats().await?.pending, stack.in_flight().await?);
    if pending == 0 && in_flight == 0 {
        // What the counter says must be so in every place.
        let waiting = shard.waiting().await?;
        let (placed, held) = (waiting.placed.len(), waiting.held.len());
        let text = format!("no rows pending, but {placed} batches wait and {held} are held");
        return Ok((placed + held > 0).then_some(text));
    }
    let lanes = shard.lane_infos().await?;
    let parked = lanes.iter().filter(|lane| lane.parked.is_some() && lane.ready > 0).count();
    Ok(Some(format!(
        "{pending} rows pending, {in_flight} in flight, {parked} lanes parked with rows"
    )))
}

/// Writes the delivery log, oldest first.
async fn write_log(shard: &Shard, path: &Path) -> anyhow::Result<()> {
    let (mut records, mut before) = (vec![], None);
    loop {
        let page = shard.log(false, before.as_deref()).await?;
        records.extend(page.records.iter().map(Logged::from));
        before = page.before;
        if before.is_none() {
            break;
        }
    }
    let mut file = BufWriter::new(File::create(path)?);
    for logged in records.iter().rev() {
        serde_json::to_writer(&mut file, logged)?;
        file.write_all(b"\n")?;
    }
    Ok(file.flush()?)
}
