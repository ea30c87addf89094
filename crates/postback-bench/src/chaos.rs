//! Chaos: faults staged on a private, real stack under load, and a checker that proves from three journals that nothing
//! was lost and nothing repeated without need.
//!
//! A trial is in `trial`, its stack in `stack`, its load in `generator` and `script`, the faults in `faults`, and what
//! must hold in `check`; `expand` says independently what the partner must see, `mutate` shows the checker red.

mod check;
mod expand;
mod faults;
mod generator;
mod journal;
mod mutate;
mod namespace;
mod proxy;
mod script;
mod stack;
mod trial;

use std::{
    env, fmt, fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    time::Instant,
};

use tokio::signal::unix::{SignalKind, signal};

use self::{
    check::Invariant,
    faults::{Fault, TABLE},
    journal::Journals,
    trial::Outcome,
};
use crate::isolation::table::aligned;

/// Options of `chaos`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = list())]
pub(crate) struct Options {
    /// Stage these faults only [default: the quick subset]
    #[arg(value_name = "FAULT", value_parser = clap::builder::PossibleValuesParser::new(TABLE.iter().map(|fault| fault.name)))]
    faults: Vec<String>,
    /// Stage every fault
    #[arg(long, conflicts_with = "faults")]
    all: bool,
    /// List the faults and end
    #[arg(long)]
    list: bool,
    /// Draws the load and the moments of the faults; printed, so that a failure can be repeated
    #[arg(long)]
    seed: Option<u64>,
    /// Show only that the checker finds what is wrong: a healthy trial's journals, each time with one thing changed; part
    /// of every run that stages `none`
    #[arg(long, conflicts_with_all = ["all", "faults"])]
    mutate: bool,
    /// Keep the folder with journals and logs; it is kept on a breach too
    #[arg(long)]
    keep: bool,
    /// The checkout, for its scripts and configuration
    #[arg(long, default_value = ".")]
    root: PathBuf,
}

/// So many rows are shown of what an invariant's breach is about.
const SHOWN: usize = 3;

/// Stages the faults; fails on a breach, or when a trial could not be run.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    if options.list {
        write!(io::stdout().lock(), "{}", list())?;
        return Ok(());
    }
    let namespace = namespace::enter();
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // Dropped at a signal, the trials stop what they started.
    tokio::select! {
        done = stage_all(&options, &namespace) => return done,
        _ = term.recv() => {},
        _ = int.recv() => {},
    }
    anyhow::bail!("stopped by a signal; journals and logs so far are in {}", folder().display())
}

/// Where this run's trials leave their journals and logs.
fn folder() -> PathBuf {
    env::temp_dir().join(format!("postback-chaos-{}", std::process::id()))
}

/// `namespace`: why there is none, if so.
async fn stage_all(options: &Options, namespace: &Result<(), String>) -> anyhow::Result<()> {
    let seed = options.seed.unwrap_or_else(|| u64::from(fastrand::u32(..)));
    tell(format_args!("seed: {seed}"));
    let folder = folder();
    let quick = options.faults.is_empty() && !options.all;
    let chosen = |fault: &&Fault| match options.faults.is_empty() {
        true => !quick || (if options.mutate { fault.name == TABLE[0].name } else { fault.quick }),
        false => options.faults.iter().any(|name| name == fault.name),
    };
    fs::create_dir_all(&folder)?;
    let (start, mut lines, mut bad) = (Instant::now(), vec![], vec![]);
    for fault in TABLE.iter().filter(chosen) {
        if let (true, Err(why)) = (fault.needs_namespace, namespace) {
            let ci = env::var_os("CI").is_some_and(|ci| !ci.is_empty());
            tell(format_args!("{}: skipped: no namespace of our own: {why}", fault.name));
            lines.push(bare_line(fault, "skipped: no namespace"));
            bad.extend(ci.then_some(fault.name));
            continue;
        }
        let folder = folder.join(fault.name);
        let (line, good) = stage(options, fault, &folder, seed, start).await?;
        lines.push(line);
        if !good {
            bad.push(fault.name);
        } else if !options.keep {
            fs::remove_dir_all(&folder)?;
        }
    }
    let took = start.elapsed().as_secs();
    write!(io::stdout().lock(), "seed: {seed}\ntook: {took} s\n\n{}", table(lines))?;
    if options.keep || !bad.is_empty() {
        tell(format_args!("journals and logs are in {}", folder.display()));
    } else {
        fs::remove_dir_all(&folder)?;
    }
    let again = bad.join(" ");
    anyhow::ensure!(
        bad.is_empty(),
        "not as it must be: {again}; repeat it with --seed {seed} {again}"
    );
    Ok(())
}

/// Runs one trial and tells of it; its line in the table, and whether all was well.
async fn stage(
    options: &Options,
    fault: &Fault,
    folder: &Path,
    seed: u64,
    start: Instant,
) -> anyhow::Result<(Vec<String>, bool)> {
    tell(format_args!("{}: {} (after {:.0?})", fault.name, fault.about, start.elapsed()));
    fs::create_dir_all(folder)?;
    let outcome = match trial::run(&options.root, folder, fault, seed).await {
        Ok(outcome) => outcome,
        Err(error) => {
            tell(format_args!("{}: could not be staged: {error:#}", fault.name));
            return Ok((bare_line(fault, "not staged"), false));
        }
    };
    tell(format_args!("{}: over in {:.0?}", fault.name, outcome.took));
    show_breaches(fault, &outcome);
    let mut good = outcome.report.breaches.is_empty();
    if fault.name == TABLE[0].name {
        good &= mutate_all(folder, fault)?;
    }
    Ok((line(fault, &outcome), good))
}

fn show_breaches(fault: &Fault, outcome: &Outcome) {
    for (invariant, rows) in &outcome.report.breaches {
        tell(format_args!("{}: BREACH of {invariant}: {}", fault.name, rows.len()));
        for row in rows.iter().take(SHOWN) {
            tell(format_args!("    {row}"));
        }
    }
}

/// Tries every mutation on a trial's journals.
fn mutate_all(folder: &Path, fault: &Fault) -> anyhow::Result<bool> {
    let journals = Journals::read(folder)?;
    let mut all = true;
    for mutation in mutate::TABLE {
        let found = mutation.is_found(&journals, fault.allowed)?;
        let verdict = if found { "found" } else { "NOT FOUND" };
        tell(format_args!("mutation: {}: {verdict} ({})", mutation.about, mutation.breaks));
        all &= found;
    }
    Ok(all)
}

const HEAD: [&str; 9] = [
    "fault",
    "accepted",
    "refused",
    "unknown",
    "lost",
    "repeated (bound)",
    "unlogged (bound)",
    "drained, s",
    "verdict",
];

/// The line of a trial that brought no figures.
fn bare_line(fault: &Fault, verdict: &str) -> Vec<String> {
    let mut line = vec![fault.name.to_owned()];
    line.resize(HEAD.len() - 1, "-".to_owned());
    line.push(verdict.to_owned());
    line
}

fn line(fault: &Fault, outcome: &Outcome) -> Vec<String> {
    let report = &outcome.report;
    let breached: Vec<String> = report
        .breaches
        .keys()
        .map(|invariant: &Invariant| invariant.to_string().chars().take(2).collect())
        .collect();
    vec![
        fault.name.to_owned(),
        report.accepted.to_string(),
        report.refused.to_string(),
        report.unknown.to_string(),
        report.lost.to_string(),
        format!("{} ({})", report.repeated, fault.allowed.repeated),
        format!("{} ({})", report.unlogged, fault.allowed.unlogged),
        outcome.drained.map_or("never".to_owned(), |time| format!("{:.1}", time.as_secs_f64())),
        if breached.is_empty() {
            "ok".to_owned()
        } else {
            format!("BREACH of {}", breached.join(", "))
        },
    ]
}

/// The table of what was staged, as Markdown.
fn table(lines: Vec<Vec<String>>) -> String {
    let head = HEAD.map(str::to_owned).to_vec();
    aligned(&[vec![head], lines].concat())
}

/// The faults and what they do.
fn list() -> String {
    let line = |fault: &Fault| {
        let quick = if fault.quick { " (quick)" } else { "" };
        format!("  {:<22} {}{quick}\n", fault.name, fault.about)
    };
    format!("Faults:\n{}", TABLE.iter().map(line).collect::<String>())
}

/// A line of progress.
fn tell(line: fmt::Arguments<'_>) {
    // That nobody reads it is no reason to stop.
    _ = writeln!(io::stderr().lock(), "{line}");
}
