//! One row's life, put together from the three journals, and what must hold of it. Times are in `schedule`.

use std::fmt::Write as _;

use super::{Invariant, Report};
use crate::chaos::{
    expand::expected,
    journal::{Answer, End, Hit, Logged, Request, Row, Shape},
};

/// All that is known of a row.
pub(super) struct Life<'a> {
    pub(super) request: &'a Request,
    pub(super) row: &'a Row,
    /// The id that the answer gave it.
    id: Option<String>,
    /// In order of time.
    pub(super) hits: Vec<&'a Hit>,
    pub(super) log: Vec<&'a Logged>,
}

impl Request {
    /// Whether ingest must refuse it.
    pub(super) fn is_bad(&self) -> bool {
        self.shape == Shape::Bad
    }
}

impl<'a> Life<'a> {
    pub(super) fn new(
        request: &'a Request,
        row: usize,
        mut hits: Vec<&'a Hit>,
        mut log: Vec<&'a Logged>,
    ) -> Life<'a> {
        hits.sort_by_key(|hit| hit.at_us);
        log.sort_by_key(|logged| (logged.attempt, logged.at_ms));
        Life { request, row: &request.rows[row], id: id(&request.answer, row as u64), hits, log }
    }

    /// Whether anything came of it.
    pub(super) fn is_seen(&self) -> bool {
        !self.hits.is_empty() || !self.log.is_empty()
    }

    /// Attempts of which the log says that no whole answer came: these are made up for by further ones. An attempt that
    /// was made again under the same number, as after a lease that ran out, is not among them: that is a repeat.
    pub(super) fn broken(&self) -> usize {
        let tried = || self.log.iter().filter(|logged| logged.attempt > 0);
        let mut numbers: Vec<u8> = tried().map(|logged| logged.attempt).collect();
        numbers.dedup();
        numbers.retain(|n| tried().filter(|l| l.attempt == *n).all(|logged| logged.status == 0));
        numbers.len()
    }

    /// Attempts that reach the sink when nothing goes wrong.
    pub(super) fn scripted(&self) -> usize {
        self.row.act.attempts(self.request.retries_ms.len())
    }

    /// Hits that the log does not tell.
    pub(super) fn unlogged(&self) -> usize {
        self.hits.len().saturating_sub(self.log.iter().filter(|logged| logged.attempt > 0).count())
    }

    /// What the three journals say of the row, for people.
    pub(super) fn trace(&self, what: &str) -> String {
        let mut text = format!("row {} {what}: {:?}", self.row.click, self.row.act);
        if let Some(id) = &self.id {
            _ = write!(text, ", id {id}");
        }
        let us = |us: u64| us as f64 / 1e6;
        _ = write!(text, ", sent {:.3}", us(self.request.sent_us));
        for hit in &self.hits {
            _ = write!(text, "; hit {:.3} {}", us(hit.at_us), hit.target);
        }
        for logged in &self.log {
            let at = logged.at_ms as f64 / 1e3;
            _ = write!(
                text,
                "; logged {at:.3} attempt {} status {}",
                logged.attempt, logged.status
            );
            if let Some(end) = &logged.end {
                _ = write!(text, " {end:?}");
            }
            if let Some(error) = &logged.error {
                _ = write!(text, " ({error})");
            }
        }
        text
    }

    pub(super) fn check(&self, report: &mut Report) {
        if let Some(why) = self.wrong_end() {
            report.lost += 1;
            report.breach(Invariant::Ends, self.trace(&why));
        }
        let repeats = self.hits.len().saturating_sub(self.scripted() + self.broken());
        if repeats > 0 {
            report.repeated += repeats as u64;
            report.repeats.push(self.trace("was repeated"));
        }
        if let Some(why) = self.wrong_id() {
            report.breach(Invariant::Repeats, self.trace(&why));
        }
        self.check_log(report);
        self.check_expansion(report);
    }

    /// Why it did not end as scripted.
    fn wrong_end(&self) -> Option<String> {
        let ends: Vec<&End> = self.log.iter().filter_map(|logged| logged.end.as_ref()).collect();
        let delivered = self.row.act.is_delivered();
        let Some(last) = ends.last() else { return Some("has no end in the log".to_owned()) };
        if ends.iter().any(|end| (**end == End::Delivered) != delivered) {
            return Some(format!("ended otherwise ({last:?})"));
        }
        if let End::Dead(cause) = last
            && cause != "status"
            && self.broken() == 0
        {
            return Some(format!("died of {cause}"));
        }
        // The sink saw as many attempts as its script needs for that end.
        let least = self.scripted().saturating_sub(if delivered { 0 } else { self.broken() });
        (self.hits.len() < least).then(|| format!("came {} times of {least}", self.hits.len()))
    }

    fn wrong_id(&self) -> Option<String> {
        let seen =
            self.hits.iter().map(|hit| hit.id()).chain(self.log.iter().map(|l| l.id.as_str()));
        let mut seen: Vec<&str> = seen.collect();
        seen.sort_unstable();
        seen.dedup();
        let expect = self.id.as_deref().or(seen.first().copied());
        (seen.iter().any(|id| Some(*id) != expect))
            .then(|| format!("has the ids {}", seen.join(", ")))
    }

    fn check_log(&self, report: &mut Report) {
        let unlogged = self.unlogged();
        if unlogged > 0 {
            report.unlogged += unlogged as u64;
            report.gaps.push(self.trace("has a hit that is not in the log"));
        }
        let answered = self.log.iter().filter(|logged| logged.status > 0).count();
        if answered > self.hits.len() {
            report.breach(
                Invariant::Log,
                self.trace("has answers in the log that the sink never gave"),
            );
        }
    }

    fn check_expansion(&self, report: &mut Report) {
        let expect = expected(self.request.shape, self.row);
        let differs = |hit: &&&Hit| {
            hit.method != expect.method || hit.target != expect.target || hit.body != expect.body
        };
        if let Some(hit) = self.hits.iter().find(differs) {
            let Hit { method, target, body, .. } = hit;
            let text = format!(
                "row {}: came as {method} {target} `{body}`, expected {} {} `{}`",
                self.row.click, expect.method, expect.target, expect.body
            );
            report.breach(Invariant::Expansion, text);
        }
        let url = format!("http://{}{}", self.request.host, expect.target);
        if let Some(logged) = self.log.iter().find(|logged| logged.attempt > 0 && logged.url != url)
        {
            let text = format!("row {}: logged as {}, expected {url}", self.row.click, logged.url);
            report.breach(Invariant::Expansion, text);
        }
    }
}

/// The id of a row by its request's answer.
pub(super) fn id(answer: &Answer, row: u64) -> Option<String> {
    let Answer::Accepted(stored) = answer else { return None };
    let mut before = 0;
    for part in stored {
        if row < before + part.rows {
            return Some(format!("{}-{}", part.id, part.first + row - before));
        }
        before += part.rows;
    }
    None
}
