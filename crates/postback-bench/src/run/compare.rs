//! `compare`: Postback next to hyper alone and to BullMQ, which is what many use for this work today.
//!
//! Each round measures all of them, so that a ratio is of two figures of the same round. deliver alone drains a queue that
//! was filled before, and the bare client and BullMQ send to the same sink process after it; then all of Postback is at
//! work at once. BullMQ's jobs are added by the client itself: what that costs is not in its daemons' CPU, while
//! Postback's has ingest in it.

use std::{
    io::{self, Write as _},
    path::PathBuf,
    time::Instant,
};

use super::{
    drain::fill_and_drain,
    path::at_once,
    rig::{Drained, Load, Parts, Rig},
    tell,
};
use crate::{
    bullmq,
    isolation::{
        table::{aligned, conditions, spread},
        until_stopped,
    },
};

/// deliver's `--per-host` by default.
const CONNECTIONS: &str = "64";
/// CPU figures are of so many rows.
const UNIT: f64 = 100_000.0;

/// Options of `compare`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Rows of Postback and requests of the bare client
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(100..))]
    rows: u64,
    /// Jobs of each of BullMQ's set-ups
    #[arg(long, default_value_t = 50_000, value_parser = clap::value_parser!(u64).range(1..))]
    jobs: u64,
    /// How often each is measured
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// The checkout whose nginx stands in front in a further measurement
    #[arg(long)]
    root: Option<PathBuf>,
}

/// What is measured, in the order of the columns, and the digits after the point; all but the first in CPU seconds.
const COLUMNS: [(&str, usize); 7] = [
    ("deliveries/s", 0),
    ("client", 2),
    ("nginx", 2),
    ("ingest", 2),
    ("Redis", 2),
    ("deliver, workers", 2),
    ("daemons in all", 2),
];
const RATE: usize = 0;
const DELIVER: usize = 5;
const DAEMONS: usize = 6;

/// One measurement; `None`: not measured, or not there.
type Figures = [Option<f64>; COLUMNS.len()];

/// What a round measured.
#[derive(Debug, Default)]
struct Round {
    bare: Figures,
    draining: Figures,
    postback: Figures,
    behind_nginx: Figures,
    bullmq: Figures,
}

/// The figures of one line.
type Line = fn(&Round) -> &Figures;
/// What is compared, in the order of the lines.
const LINES: [(&str, Line); 5] = [
    ("hyper alone", |round| &round.bare),
    ("deliver drains a full queue", |round| &round.draining),
    ("Postback", |round| &round.postback),
    ("Postback behind nginx", |round| &round.behind_nginx),
    ("BullMQ", |round| &round.bullmq),
];

/// A ratio of two figures of a round.
type Ratio = fn(&Round) -> Option<f64>;
const RATIOS: [(&str, Ratio); 5] = [
    ("draining: deliver's CPU ÷ hyper's", |round| {
        ratio(round.draining[DELIVER], round.bare[DELIVER])
    }),
    ("Postback's deliveries/s ÷ BullMQ's", |round| {
        ratio(round.postback[RATE], round.bullmq[RATE])
    }),
    ("BullMQ's daemons' CPU ÷ Postback's", |round| {
        ratio(round.bullmq[DAEMONS], round.postback[DAEMONS])
    }),
    ("behind nginx: Postback's deliveries/s ÷ BullMQ's", |round| {
        ratio(round.behind_nginx[RATE], round.bullmq[RATE])
    }),
    ("behind nginx: BullMQ's daemons' CPU ÷ Postback's", |round| {
        ratio(round.bullmq[DAEMONS], round.behind_nginx[DAEMONS])
    }),
];

fn ratio(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    Some(one? / other.filter(|other| *other > 0.0)?)
}

/// Measures and prints the table.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    until_stopped(measure_all(&options)).await
}

async fn measure_all(options: &Options) -> anyhow::Result<()> {
    let (before, start) = (conditions(&format!("{options:?}")), Instant::now());
    let mut rounds = vec![];
    for number in 1..=options.rounds {
        rounds.push(measure(options).await?);
        tell(format_args!("round {number} of {} over, {:.0?}", options.rounds, start.elapsed()));
    }
    let took = start.elapsed().as_secs();
    let mut output = io::stdout().lock();
    write!(output, "{before}took: {took} s\nCPU: seconds per 100,000 deliveries\n\n")?;
    write!(output, "{}\n{}", aligned(&figures(&rounds)), aligned(&ratios(&rounds)))?;
    Ok(())
}

async fn measure(options: &Options) -> anyhow::Result<Round> {
    let mut round = Round::default();
    let mut rig = Rig::start(Parts::default()).await?;
    let load = Load::of(options.rows, 100);
    round.draining = figures_of(&fill_and_drain(&mut rig, load, &[]).await?);
    // This stops deliver; what is left of the stack is idle.
    let bare = rig.bare(options.rows, &["--connections", CONNECTIONS]).await?;
    let rows = options.rows as f64;
    round.bare[RATE] = Some(rows / bare.seconds);
    round.bare[DELIVER] = Some(bare.cpu_seconds / rows * UNIT);
    if let Some(rival) = bullmq::measure(rig.stack.sink_address(), options.jobs).await? {
        tell(format_args!("of BullMQ {} counts", rival.setup));
        round.bullmq = [
            Some(rival.deliveries_per_second),
            Some(rival.producer),
            None,
            None,
            Some(rival.redis),
            Some(rival.workers),
            Some(rival.redis + rival.workers),
        ];
    }
    drop(rig);
    round.postback = postback(Parts::default(), load).await?;
    if let Some(root) = &options.root {
        let parts = Parts { front: Some(root), ..Parts::default() };
        round.behind_nginx = postback(parts, load).await?;
    }
    Ok(round)
}

/// ingest, Redis and one deliver at work together, from 100-row requests in a closed loop to settled and logged.
async fn postback(parts: Parts<'_>, load: Load<'_>) -> anyhow::Result<Figures> {
    let mut rig = Rig::start(parts).await?;
    rig.deliver(1, &[]).await?;
    Ok(figures_of(&at_once(&rig, load).await?))
}

fn figures_of(drained: &Drained) -> Figures {
    let Drained { used, seconds, rows } = drained;
    let cpu = |used: f64| (used > 0.0).then_some(used / rows * UNIT);
    [
        Some(rows / seconds),
        None,
        cpu(used.nginx),
        cpu(used.ingest),
        cpu(used.redis),
        cpu(used.deliver),
        cpu(used.nginx + used.ingest + used.redis + used.deliver),
    ]
}

/// The medians with the least and the greatest.
fn figures(rounds: &[Round]) -> Vec<Vec<String>> {
    let mut head = vec![String::new()];
    head.extend(COLUMNS.iter().map(|(name, _)| (*name).to_owned()));
    let line = |(name, of): &(&str, Line)| {
        let cell = |(n, (_, places)): (usize, &(&str, usize))| {
            spread(rounds.iter().filter_map(|round| of(round)[n]), *places)
        };
        let cells = COLUMNS.iter().enumerate().map(cell);
        [(*name).to_owned()].into_iter().chain(cells).collect()
    };
    [head].into_iter().chain(LINES.iter().map(line)).collect()
}

fn ratios(rounds: &[Round]) -> Vec<Vec<String>> {
    let head = ["ratio", "median (least–greatest)"].map(str::to_owned).to_vec();
    let line = |(name, of): &(&str, Ratio)| {
        vec![(*name).to_owned(), spread(rounds.iter().filter_map(of), 2)]
    };
    [head].into_iter().chain(RATIOS.iter().map(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_of_the_same_round_and_none_where_one_is_missing() {
        let round = |postback, bullmq| {
            let mut round = Round::default();
            (round.postback[RATE], round.bullmq[RATE]) = (Some(postback), bullmq);
            round
        };
        let lines = ratios(&[round(80.0, Some(10.0)), round(30.0, Some(3.0)), round(9.0, None)]);
        assert_eq!(lines[2][1], "10.00 (8.00–10.00)");
        assert_eq!(lines[1][1], "–");
    }

    #[test]
    fn each_line_has_a_cell_of_each_column() {
        let lines = figures(&[Round::default()]);
        assert_eq!(lines.len(), 1 + LINES.len());
        assert!(lines.iter().all(|line| line.len() == 1 + COLUMNS.len()));
    }
}
