//! The coalescing benchmark: what it costs and brings that small requests share a batch, as one table of figures.
//!
//! Each trial is a stack of its own (redis-server with AOF everysec, `ingest` from the same folder as this program, and
//! where it says so `deliver` and the sink) under one load of requests with one row. Rounds are interleaved, so that
//! what else the machine does concerns every variant alike. A trial is in `coalesce/trial.rs`, its clients in
//! `coalesce/clients.rs`.

mod clients;
mod trial;

use std::{
    io::{self, Write as _},
    time::Instant,
};

use self::trial::{Figures, Load};
use crate::isolation::{
    table::{aligned, conditions},
    until_stopped,
};

/// Options of `coalesce`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to give to ingest's `--coalesce`, each as a variant
    #[arg(long, value_delimiter = ',', default_value = "off,on")]
    variants: Vec<String>,
    /// Run these loads only, by their numbers from 1
    #[arg(long, value_delimiter = ',')]
    only: Vec<usize>,
    /// How often each is measured
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Requests of a trial with many clients
    #[arg(long, default_value_t = 20_000)]
    requests: usize,
    /// Requests of a trial with one client
    #[arg(long, default_value_t = 3000)]
    requests_alone: usize,
    /// How many clients are many
    #[arg(long, default_value_t = 64)]
    clients: usize,
}

impl Options {
    fn loads(&self) -> Vec<Load> {
        let Options { requests, requests_alone, clients, .. } = *self;
        let many = Load { requests, clients, endpoints: 1, is_delivered: false };
        let loads = [
            many,
            Load { endpoints: clients, ..many },
            Load { clients: 1, requests: requests_alone, ..many },
            Load { is_delivered: true, ..many },
        ];
        let chosen = |n: usize| self.only.is_empty() || self.only.contains(&(n + 1));
        loads.into_iter().enumerate().filter(|(n, _)| chosen(*n)).map(|(_, load)| load).collect()
    }
}

/// Runs the trials and prints the table; fails when a trial could not be run.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    until_stopped(measure_all(&options)).await
}

async fn measure_all(options: &Options) -> anyhow::Result<()> {
    let (before, start) = (conditions(&format!("{options:?}")), Instant::now());
    let trials: Vec<(Load, &String)> = options
        .loads()
        .into_iter()
        .flat_map(|load| options.variants.iter().map(move |variant| (load, variant)))
        .collect();
    let mut measured: Vec<Vec<Figures>> = trials.iter().map(|_| vec![]).collect();
    for round in 1..=options.rounds {
        for ((load, variant), figures) in trials.iter().zip(&mut measured) {
            figures.push(trial::run(load, variant).await?);
        }
        // That nobody reads it is no reason to stop.
        _ = writeln!(io::stderr().lock(), "round {round} over after {:.0?}", start.elapsed());
    }
    let mut lines = vec![trial::head()];
    lines.extend(trials.iter().zip(&measured).map(|((load, variant), figures)| {
        let mut line = vec![load.to_string(), (*variant).clone()];
        line.extend(trial::medians(figures));
        line
    }));
    let took = start.elapsed().as_secs();
    write!(io::stdout().lock(), "{before}took: {took} s\n\n{}", aligned(&lines))?;
    Ok(())
}
