//! Trial `in-flight`: throughput and memory with thousands of requests in flight in one `deliver`.
//!
//! A lane takes a further slot only while it uses less than half of the slots still free, so that one lane alone
//! fills a third of the process. The load therefore comes over many lanes, one address each, with `--per-host` as
//! each lane's share and `--concurrency` above the sum by twice that share and a margin: every lane then reaches
//! its cap, and what is in flight is lanes times cap. The lanes begin one after the other over one latency, so that
//! answers come evenly and not in waves. The bound is Little's law: in flight / latency. Where that is more than
//! one core can send, the CPU is the limit; the shares of a core say which it was.

use std::time::{Duration, Instant};

use super::{
    Sizes,
    feed::{MANY, Partner, addresses, fill},
    measure::{self, Machine, Seen},
    stack::{Plan, Stack},
    table::{Figure, digits},
    tell,
};

/// Slots above those wanted that `deliver` may keep for lanes without any.
const MARGIN: usize = 256;
/// Descriptors that a process needs beside those of its requests.
const OTHER_FILES: usize = 100;
/// How long the load may take to come up, and at the end to run out.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the processes are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// The CPU is the limit when `deliver` uses this share of a core, or with the sink and Redis of all cores. What others
/// use does not count: then the figure is for another time.
const BUSY: f64 = 0.9;

/// One load.
#[derive(Clone, Copy)]
struct Load {
    lanes: usize,
    per_host: usize,
    latency_ms: u64,
    rows: u64,
    /// Rows of one request: 1 makes batches of one row.
    at_once: u64,
}

impl Load {
    /// About so many in flight, as far as the descriptors go.
    fn new(in_flight: usize, latency_ms: u64, rows: u64, at_once: u64) -> anyhow::Result<Load> {
        let per_host = (in_flight / 80).clamp(1, 100);
        let beside = OTHER_FILES + MARGIN + 2 * per_host;
        let possible = in_flight.min(measure::hard_limit()?.saturating_sub(beside));
        let lanes = (possible / per_host).max(1);
        let rows = rows - rows % lanes as u64;
        Ok(Load { lanes, per_host, latency_ms, rows, at_once })
    }

    fn in_flight(self) -> usize {
        self.lanes * self.per_host
    }

    /// Requests a second, if nothing but the latency limits them.
    fn bound(self) -> f64 {
        self.in_flight() as f64 * 1000.0 / self.latency_ms as f64
    }
}

/// What a load brought.
struct Measured {
    /// The most in flight seen.
    in_flight: u64,
    /// Delivered a second in the steady state.
    throughput: f64,
    /// CPU seconds a second, of deliver, the sink and Redis.
    cpu: [f64; 3],
    /// Share of all cores that the whole machine used.
    machine: f64,
    idle_bytes: u64,
    peak_bytes: u64,
    counts: measure::Counts,
}

/// Runs the loads: 50 ms endpoints, fewer of them, slower ones, and many slow ones.
pub(super) async fn run(sizes: &Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut figures = vec![];
    let loads = [
        (sizes.in_flight, 50, sizes.in_flight_rows, MANY),
        (sizes.in_flight / 10, 50, sizes.in_flight_rows / 4, MANY),
        (sizes.in_flight, 1000, sizes.in_flight_rows / 4, MANY),
        (sizes.many, sizes.slow_ms, 4 * sizes.many as u64, MANY),
        (sizes.many, sizes.slow_ms, 2 * sizes.many as u64, 1),
    ];
    for (in_flight, latency_ms, rows, at_once) in loads {
        let load = Load::new(in_flight, latency_ms, rows, at_once)?;
        let measured = measure_load(load).await?;
        tell(format_args!(
            "in-flight: {} lanes x {} at {latency_ms} ms: {} in flight, {:.0}/s of {:.0}/s",
            load.lanes,
            load.per_host,
            measured.in_flight,
            measured.throughput,
            load.bound(),
        ));
        figures.extend(load.figures(&measured, in_flight));
    }
    Ok(figures)
}

impl Load {
    fn figures(self, seen: &Measured, wanted: usize) -> Vec<Figure> {
        let single = if self.at_once == 1 { ", 1-row requests" } else { "" };
        let of = format!("{wanted} x {} ms{single}", self.latency_ms);
        let what = |what: &str| format!("{of}: {what}");
        let share = seen.throughput / self.bound();
        let cores = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let all = seen.cpu.iter().sum::<f64>() / cores;
        let is_busy = seen.cpu[0] >= BUSY || all >= BUSY;
        let each = seen.peak_bytes.saturating_sub(seen.idle_bytes) / seen.in_flight.max(1);
        let counts = seen.counts;
        let mut reached = Figure::new(what("in flight seen"), seen.in_flight, "requests")
            .goal("95 %", seen.in_flight as f64 >= 0.95 * wanted as f64);
        if self.in_flight() < wanted * 95 / 100 {
            let text = format!("{} (hard limit on files too low)", seen.in_flight);
            reached = Figure::new(what("in flight seen"), text, "requests").goal("95 %", false);
        }
        vec![
            reached,
            Figure::new(what("throughput"), digits(seen.throughput, 0), "postbacks/s"),
            Figure::new(
                what("bound (in flight / latency)"),
                digits(self.bound(), 0),
                "postbacks/s",
            ),
            Figure::new(what("share of the bound"), digits(100.0 * share, 1), "%")
                .goal("95 %, or the CPU's limit", share >= 0.95 || is_busy),
            Figure::new(what("CPU of deliver"), digits(100.0 * seen.cpu[0], 0), "% of a core"),
            Figure::new(
                what("CPU of deliver, sink and redis"),
                digits(100.0 * all, 0),
                "% of all cores",
            ),
            Figure::new(
                what("CPU of the whole machine"),
                digits(100.0 * seen.machine, 0),
                "% of all cores",
            ),
            Figure::new(
                what("deliver's CPU for 100,000 postbacks"),
                digits(100_000.0 * seen.cpu[0] / seen.throughput.max(1.0), 2),
                "s",
            ),
            Figure::new(what("memory idle"), seen.idle_bytes / 1024, "KiB"),
            Figure::new(what("memory at most"), seen.peak_bytes / 1024, "KiB"),
            Figure::new(
                what("memory per request in flight"),
                digits(each as f64 / 1024.0, 1),
                "KiB",
            ),
            Figure::new(
                what("rows sent, arrived, repeated"),
                format!("{}, {}, {}", self.rows, counts.ids, counts.repeats),
                "rows",
            )
            .goal("each once", counts.ids == self.rows && counts.repeats == 0),
        ]
    }
}

async fn measure_load(load: Load) -> anyhow::Result<Measured> {
    let concurrency = (load.in_flight() + 2 * load.per_host + MARGIN).to_string();
    let per_host = load.per_host.to_string();
    let deliver = ["--concurrency", &concurrency, "--per-host", &per_host];
    let stack = Stack::start_with_deliver(&Plan { deliver: &deliver, ..Plan::default() }).await?;
    let idle_bytes = measure::memory(stack.delivers[0].pid(), "VmRSS")?;
    feed(&stack, load).await?;
    let (first, last, in_flight) = watch(&stack, load).await?;
    let peak_bytes = measure::memory(stack.delivers[0].pid(), "VmHWM")?;
    let counts = measure::until_arrived(stack.sink_address(), load.rows, PATIENCE).await?;
    let seconds = (last.at - first.at).as_secs_f64().max(0.001);
    let cpu = std::array::from_fn(|n| (last.cpu[n] - first.cpu[n]) / seconds);
    let throughput = (last.seen.delivered - first.seen.delivered) as f64 / seconds;
    let machine = last.machine.busy_since(&first.machine);
    Ok(Measured { in_flight, throughput, cpu, machine, idle_bytes, peak_bytes, counts })
}

/// Queues the rows, lane after lane over one latency.
async fn feed(stack: &Stack, load: Load) -> anyhow::Result<()> {
    let (queue, path) = (stack.queue()?, format!("/slow/{}", load.latency_ms));
    let pace = Duration::from_millis(load.latency_ms) / load.lanes as u32;
    let mut at = tokio::time::Instant::now();
    for ip in addresses(1, load.lanes) {
        let partner = [Partner::new(ip, stack.port, &path)];
        fill(&queue, &partner, load.rows / load.lanes as u64, load.at_once).await?;
        at += pace;
        tokio::time::sleep_until(at).await;
    }
    Ok(())
}

/// The processes at one moment.
#[derive(Clone)]
struct Sample {
    at: Instant,
    seen: Seen,
    cpu: [f64; 3],
    machine: Machine,
}

async fn sample(stack: &Stack) -> anyhow::Result<Sample> {
    let seen = measure::seen(stack.metrics[0]).await?;
    let mut cpu = [0.0; 3];
    let pids = [stack.delivers[0].pid(), stack.sink.pid(), stack.redis.pid()];
    for (cpu, pid) in cpu.iter_mut().zip(pids) {
        *cpu = measure::cpu_seconds(pid)?;
    }
    Ok(Sample { at: Instant::now(), seen, cpu, machine: Machine::now()? })
}

/// Looks on until the rows run out. Returns the first and the last sample of the steady state, from 95 % in flight to
/// the moment at which no more rows are left than slots, and the most in flight.
async fn watch(stack: &Stack, load: Load) -> anyhow::Result<(Sample, Sample, u64)> {
    let (began, mut most, mut first) = (Instant::now(), 0, None);
    loop {
        let now = sample(stack).await?;
        most = most.max(now.seen.in_flight);
        let left = load.rows.saturating_sub(now.seen.delivered);
        if left <= load.in_flight() as u64 || began.elapsed() > PATIENCE {
            return Ok((first.unwrap_or_else(|| now.clone()), now, most));
        }
        if first.is_none() && now.seen.in_flight as usize >= load.in_flight() * 95 / 100 {
            first = Some(now);
        }
        tokio::time::sleep(LOOK).await;
    }
}
