//! Shows the checker red: a healthy trial's journals, each time with one thing wrong, must be found out as the right
//! invariant.

use super::{
    check::{Allowed, Invariant, check},
    journal::{Act, Answer, Hit, Journals},
};

/// One thing done to the journals.
pub(super) struct Mutation {
    /// What it does, for people.
    pub(super) about: &'static str,
    /// The invariant that it breaks.
    pub(super) breaks: Invariant,
    /// Does it; false: the journals have nothing to do it to.
    mutate: fn(&mut Journals) -> bool,
}

/// All of them.
pub(super) const TABLE: &[Mutation] = &[
    Mutation {
        about: "an acknowledged row never arrives",
        breaks: Invariant::Ends,
        mutate: |journals| {
            let Some(click) = delivered(journals) else { return false };
            journals.hits.retain(|hit| hit.click() != click);
            journals.log.retain(|logged| logged.click.as_deref() != Some(&click));
            true
        },
    },
    Mutation {
        about: "a hit is missing at the sink",
        breaks: Invariant::Ends,
        mutate: |journals| {
            let Some(click) = delivered(journals) else { return false };
            journals.hits.retain(|hit| hit.click() != click);
            true
        },
    },
    Mutation {
        about: "a refused row arrives",
        breaks: Invariant::Refused,
        mutate: |journals| {
            let refused =
                journals.requests.iter().find(|r| matches!(r.answer, Answer::Refused { .. }));
            let Some(click) = refused.and_then(|r| r.rows.first()).map(|row| row.click.clone())
            else {
                return false;
            };
            let Some(mut hit) = journals.hits.first().cloned() else { return false };
            hit.headers.click = click;
            journals.hits.push(hit);
            true
        },
    },
    Mutation {
        about: "a row comes twice",
        breaks: Invariant::Repeats,
        mutate: |journals| {
            let Some(mut hit) = journals.hits.last().cloned() else { return false };
            hit.at_us += 1;
            journals.hits.push(hit);
            true
        },
    },
    Mutation {
        about: "a row comes under another id",
        breaks: Invariant::Repeats,
        mutate: |journals| {
            change(
                journals,
                |_| true,
                |hit| {
                    hit.headers.id = "other-0".to_owned();
                },
            )
        },
    },
    Mutation {
        about: "a retry comes too early",
        breaks: Invariant::Schedule,
        mutate: |journals| {
            let is_retried = |hit: &&Hit| hit.target.starts_with("/flaky/1");
            let Some(click) =
                journals.hits.iter().find(is_retried).map(|hit| hit.click().to_owned())
            else {
                return false;
            };
            let mut attempts = journals.hits.iter_mut().filter(|hit| hit.click() == click);
            let (Some(first), Some(second)) = (attempts.next(), attempts.next()) else {
                return false;
            };
            second.at_us = first.at_us + 1000;
            true
        },
    },
    Mutation {
        about: "an attempt is missing in the log",
        breaks: Invariant::Log,
        mutate: |journals| journals.log.pop().is_some(),
    },
    Mutation {
        about: "a byte of a URL is another",
        breaks: Invariant::Expansion,
        mutate: |journals| {
            change(journals, |hit| hit.method == "GET", |hit| alter(&mut hit.target))
        },
    },
    Mutation {
        about: "a byte of a body is another",
        breaks: Invariant::Expansion,
        mutate: |journals| change(journals, |hit| !hit.body.is_empty(), |hit| alter(&mut hit.body)),
    },
];

impl Mutation {
    /// Whether the checker finds it out.
    ///
    /// # Errors
    /// When the journals have nothing to do it to.
    pub(super) fn is_found(&self, journals: &Journals, allowed: Allowed) -> anyhow::Result<bool> {
        let mut journals = journals.clone();
        anyhow::ensure!((self.mutate)(&mut journals), "nothing to mutate: {}", self.about);
        Ok(check(&journals, allowed).breaches.contains_key(&self.breaks))
    }
}

/// An accepted row that is delivered at once.
fn delivered(journals: &Journals) -> Option<String> {
    let accepted = journals.requests.iter().filter(|r| matches!(r.answer, Answer::Accepted(_)));
    let row = accepted.flat_map(|request| &request.rows).find(|row| row.act == Act::Deliver);
    row.map(|row| row.click.clone())
}

fn change(journals: &mut Journals, which: fn(&Hit) -> bool, change: fn(&mut Hit)) -> bool {
    journals.hits.iter_mut().find(|hit| which(hit)).map(change).is_some()
}

/// Makes the last character another.
fn alter(text: &mut String) {
    let last = text.pop();
    text.push(if last == Some('0') { '1' } else { '0' });
}
