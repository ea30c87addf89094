//! The speed benchmark: what Postback costs and reaches next to its goals, as one table.
//!
//! Each scenario starts what it needs (`run/rig.rs`), measures, and stops it. Rounds go through all scenarios, so that
//! what else the machine does concerns every one alike; a ratio is of two figures of the same round. What a scenario does
//! is in its file, the table in `run/figures.rs`. CPU is of /proc/PID/stat, from when all is ready until the last row is
//! delivered, settled and logged: without starting, and without filling the queue where that comes first.

pub(crate) mod compare;
mod drain;
mod end_to_end;
mod figures;
mod front;
mod growth;
mod latency;
mod memory;
mod path;
mod rig;
mod servers;
mod slow;
mod used;

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::{Instant, SystemTime},
};

use anyhow::Context;
use clap::ValueEnum;

use self::figures::{Figure, Table};
use crate::isolation::{table::conditions, tell, until_stopped};

/// Options of `run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// How often each scenario is measured; the table has medians
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
    /// Run these scenarios only
    #[arg(long, value_enum, value_delimiter = ',', value_name = "NAME")]
    only: Vec<Scenario>,
    /// Tiny sizes and one round, to see that everything works: the figures mean nothing
    #[arg(long)]
    short: bool,
    /// Write every value of every round into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// The checkout, for nginx's configuration
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

/// What can be measured. The table has them in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// deliver at its defaults, one partner, 64 requests in flight, drains a queue of 100-row batches; next to a bare hyper
    /// client that sends as many requests over as many connections
    #[value(name = "deliver-100")]
    Deliver100,
    /// The same with batches of one row
    #[value(name = "deliver-1")]
    Deliver1,
    /// The same as deliver-100 with a partner that answers each tenth request by 500; retries after 1 s
    Failing,
    /// ingest, Redis and deliver at work together, from 100-row requests to settled and logged
    #[value(name = "redis-100")]
    Redis100,
    /// The same from 1-row requests of 64 clients, which ingest lets share batches
    #[value(name = "redis-1")]
    Redis1,
    /// Bytes of a row that waits: in memory, on the wire, in the append-only file; batches of 256 rows
    Bytes,
    /// ingest under 1-row requests of 64 clients, next to a bare actix-web server that parses the same bodies
    #[value(name = "ingest-1")]
    Ingest1,
    /// The same under 100-row requests
    #[value(name = "ingest-100")]
    Ingest100,
    /// nginx, ingest, Redis and one deliver at work together, from 100-row requests in a closed loop to settled and logged;
    /// next to BullMQ, where node and npm are
    EndToEnd,
    /// From accept to the partner: at half of the rate that 100-row requests reach, and single requests while 16 deliver
    /// processes idle; what these cost Redis
    Latency,
    /// deliver's memory while 1,000,000 rows wait, and for each of 2,000 requests in flight
    Memory,
    /// CPU of a postback while 10,000 to 5,000,000 rows wait, and with 1, 4 and 16 deliver processes; at most 3 rounds
    Growth,
    /// CPU of a postback with 1 and with 10,000 hosts, next to a bare client that makes as many connections
    Hosts,
    /// Endpoints that take 50 ms, 1,000 and 4,000 requests in flight: share of what that allows
    Slow,
}

/// How much the scenarios do.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// Rows in batches of many.
    rows: u64,
    /// Rows in small batches or in requests of their own.
    single: u64,
    /// Requests to the servers, of one row and of 100.
    requests: [u64; 2],
    /// Jobs of BullMQ's; 0: what npm must install is not asked for.
    jobs: u64,
    /// How long a rate is kept up, and an idle system looked at.
    seconds: f64,
    /// Single requests into an idle system.
    single_requests: u64,
    /// Rows that wait while memory is looked at.
    backlog: u64,
    /// Rows that are drained while others still wait.
    slice: u64,
    /// Requests in flight of which each one's memory is reckoned.
    in_flight: u64,
    /// How long each of them is in flight.
    held_for: &'static str,
    /// Rows that wait while a postback's cost is looked at.
    waiting: [u64; 4],
    hosts: [u64; 2],
    /// Requests in flight to slow endpoints, and how many rounds of them.
    slow: [u64; 2],
    slow_rounds: u64,
}

const FULL: Sizes = Sizes {
    rows: 400_000,
    single: 200_000,
    requests: [100_000, 20_000],
    jobs: 50_000,
    seconds: 10.0,
    single_requests: 300,
    backlog: 1_000_000,
    slice: 200_000,
    in_flight: 2000,
    held_for: "5s",
    waiting: [10_000, 100_000, 1_000_000, 5_000_000],
    hosts: [1, 10_000],
    slow: [1000, 4000],
    slow_rounds: 100,
};

const SHORT: Sizes = Sizes {
    rows: 2000,
    single: 200,
    requests: [200, 20],
    jobs: 0,
    seconds: 1.0,
    single_requests: 10,
    backlog: 3000,
    slice: 1000,
    in_flight: 100,
    held_for: "1s",
    waiting: [500, 1000, 2000, 3000],
    hosts: [1, 10],
    slow: [50, 100],
    slow_rounds: 6,
};

impl Scenario {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The most rounds, where they take long.
    fn most_rounds(self) -> u64 {
        if self == Scenario::Growth { 3 } else { u64::MAX }
    }

    async fn measure(self, sizes: Sizes, root: &Path) -> anyhow::Result<Vec<Figure>> {
        match self {
            Scenario::Deliver100 => drain::batches_of_100(sizes.rows).await,
            Scenario::Deliver1 => drain::batches_of_1(sizes.single).await,
            Scenario::Failing => drain::failing(sizes.rows).await,
            Scenario::Redis100 => path::requests_of_100(sizes.rows).await,
            Scenario::Redis1 => path::requests_of_1(sizes.single).await,
            Scenario::Bytes => path::bytes(sizes.rows).await,
            Scenario::Ingest1 => servers::requests_of_1(sizes.requests[0]).await,
            Scenario::Ingest100 => servers::requests_of_100(sizes.requests[1]).await,
            Scenario::EndToEnd => end_to_end::measure(root, sizes.rows, sizes.jobs).await,
            Scenario::Latency => latency::measure(sizes).await,
            Scenario::Memory => memory::measure(sizes).await,
            Scenario::Growth => growth::measure(sizes).await,
            Scenario::Hosts => growth::hosts(sizes).await,
            Scenario::Slow => slow::measure(sizes.slow, sizes.slow_rounds).await,
        }
    }
}

/// Measures and prints the table; fails when a scenario could not be measured. A goal that is missed is a figure.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    until_stopped(measure_all(&options)).await
}

async fn measure_all(options: &Options) -> anyhow::Result<()> {
    let (rounds, sizes) = if options.short { (1, SHORT) } else { (options.rounds, FULL) };
    let machine = conditions(&format!("{rounds} rounds, short: {}, {sizes:?}", options.short));
    let (start, mut table, mut failed) = (Instant::now(), Table::default(), vec![]);
    let chosen = |scenario: &&Scenario| options.only.is_empty() || options.only.contains(scenario);
    for round in 1..=rounds {
        let due = |scenario: &&Scenario| round <= scenario.most_rounds();
        for scenario in Scenario::value_variants().iter().filter(chosen).filter(due) {
            let since = Instant::now();
            match scenario.measure(sizes, &options.root).await {
                Ok(figures) => table.add(*scenario as usize, scenario.name(), figures),
                Err(error) => {
                    failed.push(format!("{} in round {round}: {error:#}", scenario.name()));
                }
            }
            tell(format_args!(
                "round {round} of {rounds}: {} took {:.1?}, {:.0?} in all",
                scenario.name(),
                since.elapsed(),
                start.elapsed()
            ));
        }
    }
    let conditions = format!(
        "date: {}\n{machine}nginx: {}\ntook: {} s\n",
        httpdate::fmt_http_date(SystemTime::now()),
        nginx_version(),
        start.elapsed().as_secs()
    );
    if let Some(file) = &options.json {
        let all = serde_json::json!({ "conditions": conditions, "figures": table.json() });
        fs::write(file, format!("{all:#}\n"))
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    write!(io::stdout().lock(), "{}\n{conditions}", table.text())?;
    anyhow::ensure!(failed.is_empty(), "not measured: {}", failed.join("; "));
    Ok(())
}

/// nginx's version as it tells it.
fn nginx_version() -> String {
    let output = front::command().arg("-v").output();
    // It is written to standard error.
    let text = output.map(|output| String::from_utf8_lossy(&output.stderr).into_owned());
    let text = text.unwrap_or_default();
    text.trim()
        .rsplit('/')
        .next()
        .filter(|version| !version.is_empty())
        .unwrap_or("none")
        .to_owned()
}
