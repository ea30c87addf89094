//! The isolation benchmark: what partners in trouble cost the others, as one table of figures.
//!
//! Each trial starts what it needs (redis-server, the sink, `deliver`, from the same folder as this program) and
//! stops it; all traffic is on loopback, where each address of 127.0.0.0/8 is a partner with a lane of its own.
//! What a trial does is in its file; the processes are in `isolation/stack.rs`.

mod arrivals;
mod bad;
pub(crate) mod feed;
mod in_flight;
mod lanes;
mod latency;
mod limit;
pub(crate) mod measure;
pub(crate) mod stack;
pub(crate) mod table;
mod tls;

use std::{
    fmt,
    io::{self, Write as _},
    time::Instant,
};

use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    latency::Bad,
    table::{Figure, Table, conditions},
};

/// Options of `isolation`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Run these trials only
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Trial>,
    /// Small sizes, to see that everything works: the figures mean nothing
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    sizes: Sizes,
}

/// How much each trial does; `--quick` makes the defaults small.
#[derive(Debug, clap::Args)]
struct Sizes {
    /// dead, refusing, slow: rows queued for the bad hosts before the healthy ones' come
    #[arg(long, default_value_t = 10_000, default_value_if("quick", "true", "400"))]
    rows: u64,
    /// dead, refusing, slow: rows a second, over all healthy hosts
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// dead, refusing, slow: seconds of each of a variant's four phases
    #[arg(long, default_value_t = 15, default_value_if("quick", "true", "1"))]
    seconds: u64,
    /// dead, refusing, slow: draws the order of the healthy hosts
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// slow, in-flight: milliseconds until a slow host answers
    #[arg(long, default_value_t = 5000, default_value_if("quick", "true", "500"))]
    slow_ms: u64,
    /// limit: rows for the limited host
    #[arg(long, default_value_t = 100, default_value_if("quick", "true", "14"))]
    limit_rows: u64,
    /// in-flight: requests in flight to the 50 ms endpoints
    #[arg(long, default_value_t = 4000, default_value_if("quick", "true", "200"))]
    in_flight: usize,
    /// in-flight: rows for the 50 ms endpoints
    #[arg(long, default_value_t = 200_000, default_value_if("quick", "true", "4000"))]
    in_flight_rows: u64,
    /// in-flight: requests in flight to slow endpoints
    #[arg(long, default_value_t = 20_000, default_value_if("quick", "true", "400"))]
    many: usize,
    /// lanes: the most lanes that wait
    #[arg(long, default_value_t = 100_000, default_value_if("quick", "true", "2000"))]
    lanes: u64,
    /// lanes: reserves timed at each number of lanes
    #[arg(long, default_value_t = 1000, default_value_if("quick", "true", "40"))]
    calls: usize,
    /// tls: rows over kept connections
    #[arg(long, default_value_t = 20_000, default_value_if("quick", "true", "320"))]
    tls_rows: u64,
    /// tls: rows over connections of their own
    #[arg(long, default_value_t = 3000, default_value_if("quick", "true", "160"))]
    tls_rows_closed: u64,
}

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Trial {
    /// A host to which connecting times out
    Dead,
    /// A host that refuses connections
    Refusing,
    /// Twenty hosts that answer late, with --rows in total
    Slow,
    /// The same with each row in a request of its own
    SlowSingle,
    /// Twenty hosts that answer late, with --rows each
    SlowEach,
    /// A host limited to 5/s, three deliver processes
    Limit,
    /// Thousands of requests in flight: throughput and memory
    InFlight,
    /// `reserve` while many lanes wait
    Lanes,
    /// TLS with and without reuse of connections
    Tls,
}

impl Trial {
    fn name(self) -> &'static str {
        match self {
            Trial::Dead => "dead",
            Trial::Refusing => "refusing",
            Trial::Slow => "slow",
            Trial::SlowSingle => "slow-single",
            Trial::SlowEach => "slow-each",
            Trial::Limit => "limit",
            Trial::InFlight => "in-flight",
            Trial::Lanes => "lanes",
            Trial::Tls => "tls",
        }
    }

    async fn run(self, sizes: &Sizes) -> anyhow::Result<Vec<Figure>> {
        match self {
            Trial::Dead => latency::run(sizes, Bad::Silent).await,
            Trial::Refusing => latency::run(sizes, Bad::Refusing).await,
            Trial::Slow => latency::run(sizes, Bad::Slow).await,
            Trial::SlowSingle => latency::run(sizes, Bad::SlowSingle).await,
            Trial::SlowEach => latency::run(sizes, Bad::SlowEach).await,
            Trial::Limit => limit::run(sizes).await,
            Trial::InFlight => in_flight::run(sizes).await,
            Trial::Lanes => lanes::run(sizes).await,
            Trial::Tls => tls::run(sizes).await,
        }
    }
}

/// Runs the trials and prints the table; fails when a trial could not be run. A goal that is missed is a figure.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    until_stopped(measure_all(&options)).await
}

/// Runs trials until they are over or a signal comes.
pub(crate) async fn until_stopped(
    trials: impl Future<Output = anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Dropped at a signal, the trials stop what they started.
    tokio::select! {
        done = trials => done,
        _ = term.recv() => anyhow::bail!("stopped by a signal"),
        _ = int.recv() => anyhow::bail!("stopped by a signal"),
    }
}

async fn measure_all(options: &Options) -> anyhow::Result<()> {
    let before = conditions(&format!("{:?}, quick: {}", options.sizes, options.quick));
    let chosen = |trial: &&Trial| options.only.is_empty() || options.only.contains(trial);
    let (start, mut table, mut failed) = (Instant::now(), Table::default(), vec![]);
    for trial in Trial::value_variants().iter().filter(chosen) {
        tell(format_args!("{}: begins after {:.0?}", trial.name(), start.elapsed()));
        let figures = trial.run(&options.sizes).await.unwrap_or_else(|error| {
            tell(format_args!("{}: {error:#}", trial.name()));
            failed.push(trial.name());
            vec![Figure::new("not measured", format!("{error:#}"), "")]
        });
        table.add(trial.name(), figures);
    }
    let took = start.elapsed().as_secs();
    write!(io::stdout().lock(), "{before}took: {took} s\n\n{}", table.text())?;
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// A line of progress.
pub(crate) fn tell(line: fmt::Arguments<'_>) {
    // That nobody reads it is no reason to stop.
    _ = writeln!(io::stderr().lock(), "{line}");
}
