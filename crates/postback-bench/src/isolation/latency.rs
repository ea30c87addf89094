//! Trials `dead` and `slow`: what a row to a healthy host waits beside hosts in trouble, and without them.
//!
//! Each phase has a stack of its own; phases without and with the bad hosts take turns, and all send the same
//! rows in the same order at the same pace. In a phase with them their rows are queued first, at once; then the
//! healthy rows come, one row a request, however the earlier ones fare (an open loop: a stall is seen by every
//! row that comes meanwhile). Healthy hosts are asked once before, so that no phase measures a cold start.

use std::time::Duration;

use postback_core::queue::Queue;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    Sizes,
    arrivals::Arrivals,
    bad::DeadHost,
    feed::{MANY, Partner, addresses, fill},
    measure::{self, Machine},
    stack::{Plan, Stack},
    table::{Figure, digits, millis},
    tell,
};

/// A healthy row that takes longer is one too many.
const LATE: Duration = Duration::from_millis(250);
/// How long is waited for the last healthy rows.
const PATIENCE: Duration = Duration::from_secs(20);
/// The paths of the healthy hosts: asked before the measurement, and measured.
const WARM: &str = "/warm";
const HEALTHY: &str = "/healthy";

/// What is wrong with the bad hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    /// One host to which connecting times out.
    Silent,
    /// One host that refuses connections.
    Refusing,
    /// Twenty hosts that answer after 5 s; so many rows in total.
    Slow,
    /// The same with each row in a request of its own.
    SlowSingle,
    /// The same with so many rows for each of them.
    SlowEach,
}

impl Bad {
    fn words(self) -> &'static str {
        match self {
            Bad::Silent => "1 silent host",
            Bad::Refusing => "1 refusing host",
            Bad::Slow => "20 slow hosts",
            Bad::SlowSingle => "20 slow hosts, 1-row requests",
            Bad::SlowEach => "20 slow hosts, rows each",
        }
    }

    /// How many hosts are bad, of 100.
    fn hosts(self) -> usize {
        match self {
            Bad::Silent | Bad::Refusing => 1,
            Bad::Slow | Bad::SlowSingle | Bad::SlowEach => 20,
        }
    }
}

/// What one phase, or several together, brought.
#[derive(Debug, Default)]
struct Phase {
    /// Microseconds from enqueue to arrival, sorted.
    waits: Vec<u64>,
    sent: u64,
    repeats: u64,
    /// Requests in flight when the healthy rows began.
    in_flight: u64,
    /// Share of all cores that the whole machine used meanwhile.
    machine: f64,
}

impl Phase {
    fn join(&mut self, other: Phase) {
        self.waits.extend(other.waits);
        self.waits.sort_unstable();
        self.sent += other.sent;
        self.repeats += other.repeats;
        self.in_flight = self.in_flight.max(other.in_flight);
        self.machine = self.machine.max(other.machine);
    }

    /// Microseconds; a row that did not come counts with all the time that was waited for it.
    fn wait(&self, mille: usize) -> u64 {
        let wait = measure::per_mille(&self.waits, self.sent as usize, mille);
        wait.unwrap_or(PATIENCE.as_micros() as u64)
    }

    /// Rows that took too long, or did not come at all.
    fn late(&self) -> u64 {
        let in_time = self.waits.partition_point(|wait| u128::from(*wait) <= LATE.as_micros());
        self.sent - in_time as u64
    }
}

/// Runs four phases, without, with, without, with, and makes figures of them.
pub(super) async fn run(sizes: &Sizes, bad: Bad) -> anyhow::Result<Vec<Figure>> {
    let (mut without, mut with) = (Phase::default(), Phase::default());
    for turn in 0..4 {
        let (is_bad, name) = (turn % 2 == 1, if turn % 2 == 1 { "with" } else { "without" });
        let phase = measure_phase(sizes, bad, is_bad).await?;
        tell(format_args!(
            "{}: {name}: p50 {} ms, p99 {} ms, max {} ms, {} of {} rows, {} in flight before, cpu {:.0} %",
            bad.words(),
            millis(phase.wait(500)),
            millis(phase.wait(990)),
            millis(phase.wait(1000)),
            phase.waits.len(),
            phase.sent,
            phase.in_flight,
            100.0 * phase.machine,
        ));
        if is_bad { &mut with } else { &mut without }.join(phase);
    }
    Ok(figures(bad, &without, &with))
}

fn figures(bad: Bad, without: &Phase, with: &Phase) -> Vec<Figure> {
    let mut figures = vec![];
    for (name, phase) in [("without", without), ("with", with)] {
        for (what, mille) in [("p50", 500), ("p99", 990), ("p99.9", 999), ("max", 1000)] {
            let what = format!("{}, healthy rows {name}: {what}", bad.words());
            let value = millis(phase.wait(mille));
            figures.push(Figure::new(what, value, "ms"));
        }
        let what = format!("{}, CPU of the whole machine {name}, at most", bad.words());
        figures.push(Figure::new(what, digits(100.0 * phase.machine, 0), "% of all cores"));
    }
    let what = |what: &str| format!("{}: {what}", bad.words());
    let ratio = with.wait(990) as f64 / without.wait(990).max(1) as f64;
    figures.push(
        Figure::new(what("p99 with / without"), digits(ratio, 2), "").goal("<= 2", ratio <= 2.0),
    );
    figures.push(
        Figure::new(what("healthy rows over 250 ms with"), with.late(), "rows")
            .goal("0", with.late() == 0),
    );
    figures.push(Figure::new(what("healthy rows over 250 ms without"), without.late(), "rows"));
    let (sent, arrived) = (without.sent + with.sent, without.waits.len() + with.waits.len());
    let repeats = without.repeats + with.repeats;
    figures.push(
        Figure::new(
            what("healthy rows sent, arrived, repeated"),
            format!("{sent}, {arrived}, {repeats}"),
            "rows",
        )
        .goal("each once", sent == arrived as u64 && repeats == 0),
    );
    figures.push(Figure::new(what("in flight to them at the start"), with.in_flight, "requests"));
    figures
}

async fn measure_phase(sizes: &Sizes, bad: Bad, is_bad: bool) -> anyhow::Result<Phase> {
    let stack = Stack::start_with_deliver(&Plan { journal: true, ..Plan::default() }).await?;
    let queue = stack.queue()?;
    let hosts = 100 - bad.hosts();
    let healthy = |path| move |ip| Partner::new(ip, stack.port, path);
    let warm: Vec<Partner> = addresses(1, hosts).map(healthy(WARM)).collect();
    fill(&queue, &warm, 1, 1).await?;
    let reached = measure::until_arrived(stack.sink_address(), hosts as u64, PATIENCE).await?.ids;
    anyhow::ensure!(reached == hosts as u64, "only {reached} of {hosts} hosts were reached");

    // The listeners live until the end of the phase.
    let mut dead = vec![];
    if is_bad {
        queue_bad_rows(&stack, &queue, sizes, bad, &mut dead).await?;
    }
    let in_flight = if is_bad { until_busy(&stack).await? } else { 0 };
    let partners: Vec<Partner> = addresses(1, hosts).map(healthy(HEALTHY)).collect();
    let before = Machine::now()?;
    let sent = stream(&queue, &partners, sizes).await?;
    let machine = Machine::now()?.busy_since(&before);
    let arrivals = Arrivals::wait(&stack.journal, HEALTHY, sent, PATIENCE).await?;
    Ok(Phase { waits: arrivals.waits, sent, repeats: arrivals.repeats, in_flight, machine })
}

/// Queues the bad hosts' rows; what must outlive them goes into `dead`.
async fn queue_bad_rows(
    stack: &Stack,
    queue: &Queue,
    sizes: &Sizes,
    bad: Bad,
    dead: &mut Vec<DeadHost>,
) -> anyhow::Result<()> {
    let ips = addresses(2, bad.hosts());
    let each = match bad {
        Bad::Silent | Bad::Refusing | Bad::SlowEach => sizes.rows,
        Bad::Slow | Bad::SlowSingle => sizes.rows.div_ceil(bad.hosts() as u64),
    };
    let slow = format!("/slow/{}", sizes.slow_ms);
    let mut partners = vec![];
    for ip in ips {
        let port = match bad {
            Bad::Silent => {
                dead.push(DeadHost::silent(ip).await?);
                dead.last().map_or(0, DeadHost::port)
            }
            Bad::Refusing => {
                dead.push(DeadHost::refusing(ip)?);
                dead.last().map_or(0, DeadHost::port)
            }
            Bad::Slow | Bad::SlowSingle | Bad::SlowEach => stack.port,
        };
        partners.push(Partner::new(ip, port, &slow));
    }
    fill(queue, &partners, each, if bad == Bad::SlowSingle { 1 } else { MANY }).await
}

/// Returns the requests in flight as soon as there are some, or after a second: refused connections are over at once.
async fn until_busy(stack: &Stack) -> anyhow::Result<u64> {
    let since = Instant::now();
    loop {
        let in_flight = measure::seen(stack.metrics[0]).await?.in_flight;
        if in_flight > 0 || since.elapsed() > Duration::from_secs(1) {
            return Ok(in_flight);
        }
    }
}

/// Sends rows at an even pace, each to a host drawn by the seed. Returns how many.
async fn stream(queue: &Queue, partners: &[Partner], sizes: &Sizes) -> anyhow::Result<u64> {
    let mut random = fastrand::Rng::with_seed(sizes.seed);
    let rows = sizes.rate * sizes.seconds;
    let start = Instant::now();
    let mut under_way = JoinSet::new();
    for n in 0..rows {
        let partner = partners[random.usize(..partners.len())].clone();
        let queue = queue.clone();
        sleep_until(start + Duration::from_micros(n * 1_000_000 / sizes.rate)).await;
        under_way.spawn_local(async move { partner.enqueue(&queue, n..n + 1).await });
    }
    while let Some(done) = under_way.join_next().await {
        done??;
    }
    Ok(rows)
}
