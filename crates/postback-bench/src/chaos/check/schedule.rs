//! When a row was tried: the number of attempts, and the time between them.

use super::{Allowed, Invariant, Report, rows::Life};

/// A wait may be a fifth shorter or longer than the policy says.
const LEAST: f64 = 0.8;
const MOST: f64 = 1.2;
/// Milliseconds by which clocks that count in whole ones may differ.
const ROUNDING: f64 = 2.0;
/// Milliseconds that an attempt may be late where no fault delays it: a busy machine, and a share of the poll's wait.
const LATE: f64 = 10_000.0;

impl Life<'_> {
    pub(super) fn check_schedule(&self, allowed: Allowed, report: &mut Report) {
        let found = self
            .wrong_numbers()
            .or_else(|| self.wrong_times(allowed))
            .or_else(|| self.late_start(allowed))
            .or_else(|| (self.broken() > 0 && !allowed.broken).then(|| "was cut off".to_owned()));
        if let Some(why) = found {
            report.breach(Invariant::Schedule, self.trace(&why));
        }
    }

    /// The log's attempts are numbered from 1 without a hole, and none is beyond the last that the policy has.
    fn wrong_numbers(&self) -> Option<String> {
        let mut numbers: Vec<usize> =
            self.log.iter().map(|logged| usize::from(logged.attempt)).filter(|n| *n > 0).collect();
        numbers.dedup();
        if numbers.iter().enumerate().any(|(n, number)| *number != n + 1) {
            return Some(format!("has the attempts {numbers:?}"));
        }
        let most = self.request.retries_ms.len() + 1;
        if numbers.len() > most {
            return Some(format!("was tried {} times of {most}", numbers.len()));
        }
        // What the log does not tell, and what did not reach the sink, is why a row may differ from its script.
        let ended = self.log.iter().any(|logged| logged.end.is_some());
        let exact = ended && self.unlogged() == 0 && self.broken() == 0;
        (exact && numbers.len() != self.scripted() && self.hits.len() == numbers.len())
            .then(|| format!("was tried {} times, not {}", numbers.len(), self.scripted()))
    }

    /// Where nothing may delay it, the first attempt comes at once.
    fn late_start(&self, allowed: Allowed) -> Option<String> {
        let first = self.hits.first().filter(|_| !allowed.delays)?;
        let ms = first.at_us.saturating_sub(self.request.answered_us) as f64 / 1e3;
        (ms > LATE).then(|| format!("came {ms:.0} ms after it was accepted"))
    }

    fn wrong_times(&self, allowed: Allowed) -> Option<String> {
        let log: Vec<_> = self.log.iter().filter(|logged| logged.attempt > 0).collect();
        let by_log = log.windows(2).filter(|pair| pair[0].attempt != pair[1].attempt).map(|pair| {
            let ended_ms = pair[0].at_ms as f64 + pair[0].took_us as f64 / 1e3;
            (usize::from(pair[0].attempt), pair[1].at_ms as f64 - ended_ms)
        });
        let by_log = if allowed.jumps { vec![] } else { by_log.collect() };
        // Hits are attempts one by one only where the log tells each of them.
        let exact = self.hits.len() == log.len() && self.broken() == 0 && by_numbers(&log);
        let by_hits = self
            .hits
            .windows(2)
            .enumerate()
            .map(|(n, pair)| (n + 1, pair[1].at_us.saturating_sub(pair[0].at_us) as f64 / 1e3));
        let by_hits = if exact { by_hits.collect() } else { vec![] };
        let late = if allowed.delays { f64::INFINITY } else { LATE };
        by_log.into_iter().chain(by_hits).find_map(|(attempt, gap_ms)| {
            let wait = *self.request.retries_ms.get(attempt - 1)? as f64;
            let fits = (LEAST * wait - ROUNDING..=MOST * wait + late).contains(&gap_ms);
            (!fits).then(|| {
                format!("was tried {gap_ms:.0} ms after attempt {attempt}, the wait is {wait} ms")
            })
        })
    }
}

/// Whether each attempt is in the log once.
fn by_numbers(log: &[&&crate::chaos::journal::Logged]) -> bool {
    log.iter().enumerate().all(|(n, logged)| usize::from(logged.attempt) == n + 1)
}
