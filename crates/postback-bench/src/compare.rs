//! The comparison with others, as one table of figures: what many use for the same work today.

use std::{
    io::{self, Write as _},
    time::Instant,
};

use crate::{
    bullmq::{self, Rival},
    isolation::{
        stack::{Plan, Stack},
        table::{aligned, conditions, spread},
        tell, until_stopped,
    },
};

/// Options of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows, each one request to the sink
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// How often each is measured
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
}

/// Measures and prints the table.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    until_stopped(measure_all(&options)).await
}

async fn measure_all(options: &Options) -> anyhow::Result<()> {
    let (before, start) = (conditions(&format!("{options:?}")), Instant::now());
    let stack = Stack::start(&Plan { sink: &["--lean"], ..Plan::default() })?;
    let mut rivals = vec![];
    for round in 1..=options.rounds {
        rivals.extend(bullmq::measure(stack.sink_address(), options.rows).await?);
        tell(format_args!("round {round} over after {:.0?}", start.elapsed()));
    }
    let took = start.elapsed().as_secs();
    write!(io::stdout().lock(), "{before}took: {took} s\n\n{}", aligned(&table(&rivals)))?;
    Ok(())
}

fn table(rivals: &[Rival]) -> Vec<Vec<String>> {
    let head = [
        "",
        "deliveries/s",
        "client CPU s/100k",
        "worker CPU s/100k",
        "Redis CPU s/100k",
        "workers × concurrency",
    ];
    let cell = |of: fn(&Rival) -> f64, places| spread(rivals.iter().map(of), places);
    let setups: Vec<String> = rivals.iter().map(|rival| rival.setup.to_string()).collect();
    let bullmq = [
        "BullMQ".to_owned(),
        cell(|rival| rival.deliveries_per_second, 0),
        cell(|rival| rival.producer, 2),
        cell(|rival| rival.workers, 2),
        cell(|rival| rival.redis, 2),
        setups.join(", "),
    ];
    vec![head.map(str::to_owned).to_vec(), bullmq.to_vec()]
}
