//! The checker: what a trial's three journals say against what must hold. Pure; it reads nothing else.
//!
//! One row's life is put together in [`rows`], its attempts and their times in `schedule`; what is
//! measured besides (the backlog, memory, descriptors) is judged in `health`.

mod health;
mod rows;
mod schedule;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt, mem,
};

pub(super) use self::health::{Health, Sample, judge};
use self::rows::Life;
use super::journal::{Answer, End, Hit, Journals, Logged, Request};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Invariant {
    /// Accepted rows end as scripted: delivered or dead.
    Ends,
    /// Nothing of a refused request, or of nobody's, comes to the sink.
    Refused,
    /// No repeats beyond the bound; all of a row's hits have its one id.
    Repeats,
    /// Attempts and their distances follow the policy.
    Schedule,
    /// The log tells every hit, and no more.
    Log,
    /// What came is what an independent expansion makes of the row.
    Expansion,
    /// The backlog drains.
    Drains,
    /// Memory and descriptors stay flat.
    Flat,
}

impl fmt::Display for Invariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Invariant::Ends => "I1 accepted rows end as scripted",
            Invariant::Refused => "I2 nothing comes of a refused request",
            Invariant::Repeats => "I3 repeats are within the bound, with the same id",
            Invariant::Schedule => "I4 attempts follow the schedule",
            Invariant::Log => "I5 the log tells every hit",
            Invariant::Expansion => "I6 URL and body equal the expansion",
            Invariant::Drains => "I7 the backlog drains",
            Invariant::Flat => "I8 memory and descriptors are flat",
        })
    }
}

/// What a fault may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowed {
    /// Hits beyond the attempts that a row needed.
    pub(super) repeated: u64,
    /// Hits that the log does not tell.
    pub(super) unlogged: u64,
    /// Whether good requests may be refused or stay without an answer.
    pub(super) refusals: bool,
    /// Whether attempts may come later than the schedule says.
    pub(super) delays: bool,
    /// Whether attempts may end without a whole answer.
    pub(super) broken: bool,
    /// Whether Redis's time, in which the log is written, may jump.
    pub(super) jumps: bool,
    /// Whether others store records that cannot be read: these die and are logged.
    pub(super) strangers: bool,
}

impl Allowed {
    /// Nothing is repeated, nothing is missing in the log, nothing comes late.
    pub(super) const NOTHING: Allowed = Allowed {
        repeated: 0,
        unlogged: 0,
        refusals: false,
        delays: false,
        broken: false,
        jumps: false,
        strangers: false,
    };
}

/// What the checker found.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) breaches: BTreeMap<Invariant, Vec<String>>,
    /// Rows of requests answered 202.
    pub(super) accepted: u64,
    /// Rows of good requests that were refused.
    pub(super) refused: u64,
    /// Rows of requests whose answer was lost.
    pub(super) unknown: u64,
    /// Accepted rows that did not end as scripted.
    pub(super) lost: u64,
    pub(super) repeated: u64,
    pub(super) unlogged: u64,
    /// The rows that the two counts are about; breaches only where there are too many.
    repeats: Vec<String>,
    gaps: Vec<String>,
}

impl Report {
    /// Notes a breach.
    pub(super) fn breach(&mut self, invariant: Invariant, text: impl Into<String>) {
        self.breaches.entry(invariant).or_default().push(text.into());
    }

    fn check_bounds(&mut self, allowed: Allowed) {
        let (repeats, gaps) = (mem::take(&mut self.repeats), mem::take(&mut self.gaps));
        for (what, invariant, found, bound, rows) in [
            ("repeated", Invariant::Repeats, self.repeated, allowed.repeated, repeats),
            ("not in the log", Invariant::Log, self.unlogged, allowed.unlogged, gaps),
        ] {
            if found > bound {
                self.breach(invariant, format!("{found} hits are {what}, {bound} may be"));
                rows.into_iter().for_each(|row| self.breach(invariant, row));
            }
        }
    }
}

/// Checks a trial.
pub(super) fn check(journals: &Journals, allowed: Allowed) -> Report {
    let mut report = Report::default();
    let mut hits: HashMap<&str, Vec<&Hit>> = HashMap::new();
    for hit in &journals.hits {
        hits.entry(hit.click()).or_default().push(hit);
    }
    let mut log = log_by_row(journals);
    for request in &journals.requests {
        let lives: Vec<Life<'_>> = (0..request.rows.len())
            .map(|row| {
                let click = request.rows[row].click.as_str();
                let (hits, log) = (hits.remove(click), log.remove(click));
                Life::new(request, row, hits.unwrap_or_default(), log.unwrap_or_default())
            })
            .collect();
        check_request(request, &lives, allowed, &mut report);
    }
    if allowed.strangers {
        log.retain(|_, records| !records.iter().all(|record| is_unreadable(record)));
    }
    for row in hits.keys().chain(log.keys()) {
        report.breach(Invariant::Refused, format!("row `{row}` belongs to no request"));
    }
    report.check_bounds(allowed);
    report
}

/// The log's records by the row's name; what tells none goes by its id.
fn log_by_row(journals: &Journals) -> HashMap<&str, Vec<&Logged>> {
    let rows = journals.requests.iter().flat_map(|request| {
        let named = (0..).zip(&request.rows);
        named.filter_map(|(n, row)| Some((rows::id(&request.answer, n)?, row.click.as_str())))
    });
    let by_id: HashMap<String, &str> = rows.collect();
    let mut log: HashMap<&str, Vec<&Logged>> = HashMap::new();
    for logged in &journals.log {
        let known = logged.click.as_deref().or_else(|| by_id.get(&logged.id).copied());
        log.entry(known.unwrap_or(&logged.id)).or_default().push(logged);
    }
    log
}

/// Whether this is how a record ends that nobody can read.
fn is_unreadable(logged: &Logged) -> bool {
    logged.attempt == 0 && logged.end == Some(End::Dead("undecodable".to_owned()))
}

fn check_request(request: &Request, lives: &[Life<'_>], allowed: Allowed, report: &mut Report) {
    // No fault is an excuse for what it does not concern.
    let allowed =
        if request.steady { Allowed { delays: false, broken: false, ..allowed } } else { allowed };
    let number = request.number;
    let rows = lives.len() as u64;
    match &request.answer {
        Answer::Accepted(stored) => {
            report.accepted += rows;
            if stored.iter().map(|part| part.rows).sum::<u64>() != rows {
                report.breach(
                    Invariant::Ends,
                    format!("request {number}: 202 for other than {rows} rows"),
                );
            }
        }
        Answer::Refused { status, code } => {
            // What is good is never called bad, whatever else is wrong.
            let called_bad = (400..500).contains(status);
            if (called_bad && !request.is_bad()) || (!called_bad && !allowed.refusals) {
                let text = format!("request {number} was refused: {status} {code}");
                report.breach(Invariant::Ends, text);
            }
            report.refused += if request.is_bad() { 0 } else { rows };
            for life in lives.iter().filter(|life| life.is_seen()) {
                report.breach(Invariant::Refused, life.trace("was refused"));
            }
            return;
        }
        Answer::Unknown(why) => {
            report.unknown += rows;
            if !allowed.refusals {
                report.breach(Invariant::Ends, format!("request {number} has no answer: {why}"));
            }
            // Whole or not at all: one row that is seen makes all of them due.
            if !lives.iter().any(Life::is_seen) {
                return;
            }
        }
    }
    if request.is_bad() {
        report.breach(Invariant::Refused, format!("request {number} is bad and was taken"));
    }
    for life in lives {
        life.check(report);
        if life.is_seen() {
            life.check_schedule(allowed, report);
        }
    }
}
