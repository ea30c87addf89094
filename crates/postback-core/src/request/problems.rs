//! What is wrong with a request: every fault with its place, gathered up to a bound while the request is read.
//!
//! What is a fault is said where the value is read (`envelope`, `rows`).

use std::fmt::{self, Display};

use thiserror::Error;

use super::node::Node;

/// The most faults of one request that are told. Reading ends with the last of them.
pub const MAX_ERRORS: usize = 20;

/// Which answer a refused request gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is wrong.
    Bad,
    /// It has more rows than allowed.
    TooManyRows,
}

/// One fault of a request, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{place}: {reason}")]
pub struct RequestError {
    /// Which answer it gets.
    pub kind: ErrorKind,
    /// `data[17].x`, `endpoint.url`, `policy.retries[3]`, or `request` for the whole.
    pub place: String,
    /// What is wrong there.
    pub reason: String,
}

/// Why a request is refused: its faults in the order of its text, at least one and at most [`MAX_ERRORS`]. So many
/// are there where reading ended for their number; then there may be more.
///
/// Its Display is the first and how many follow.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct RequestErrors(Vec<RequestError>);

impl RequestErrors {
    /// Which answer the request gets. One with too many rows has no other fault beside that.
    pub fn kind(&self) -> ErrorKind {
        self.0.first().map_or(ErrorKind::Bad, |error| error.kind)
    }

    /// All of them.
    pub fn as_slice(&self) -> &[RequestError] {
        &self.0
    }
}

impl Display for RequestErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((first, more)) = self.0.split_first() else { return Ok(()) };
        write!(f, "{first}")?;
        match more.len() {
            0 => Ok(()),
            n if n + 1 == MAX_ERRORS => write!(f, " (and at least {n} more)"),
            n => write!(f, " (and {n} more)"),
        }
    }
}

/// A fault before it has its place among the others.
#[derive(Debug)]
pub(super) struct Problem {
    /// Where in memory the faulty text is: all texts of a request lie in its body, so that this orders them.
    at: usize,
    error: RequestError,
}

impl Problem {
    /// A fault of the text that begins (or, where something is missing, ends) with `at`.
    pub(super) fn new(at: *const u8, place: impl Display, reason: impl Display) -> Problem {
        let [place, reason] = [place.to_string(), reason.to_string()].map(short);
        Problem { at: at.addr(), error: RequestError { kind: ErrorKind::Bad, place, reason } }
    }

    /// The same, answered as a request with too many rows.
    pub(super) fn too_many_rows(mut self) -> Problem {
        self.error.kind = ErrorKind::TooManyRows;
        self
    }
}

/// The faults found so far.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<Problem>);

impl Problems {
    /// Notes one more, unless there are [`MAX_ERRORS`].
    pub(super) fn add(&mut self, problem: Problem) {
        if !self.is_full() {
            self.0.push(problem);
        }
    }

    /// What was read; its fault is noted.
    pub(super) fn note<T>(&mut self, read: Result<T, Problem>) -> Option<T> {
        read.map_err(|problem| self.add(problem)).ok()
    }

    /// What is read from a value that may be absent; its fault is noted.
    pub(super) fn read<'b, T>(
        &mut self,
        node: Option<&Node<'b>>,
        read: impl FnOnce(&Node<'b>) -> Result<T, Problem>,
    ) -> Option<T> {
        self.note(read(node?))
    }

    /// Forgets all others for this one.
    pub(super) fn replace(&mut self, problem: Problem) {
        self.0 = vec![problem];
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets all but the first so many.
    pub(super) fn truncate(&mut self, length: usize) {
        self.0.truncate(length);
    }

    /// Whether there are so many that reading should end.
    pub(super) fn is_full(&self) -> bool {
        self.0.len() == MAX_ERRORS
    }

    /// What was read, if nothing was wrong.
    pub(super) fn finish<T>(mut self, read: Option<T>) -> Result<T, RequestErrors> {
        match read {
            Some(read) if self.0.is_empty() => Ok(read),
            _ => {
                self.0.sort_by_key(|problem| problem.at);
                Err(RequestErrors(self.0.into_iter().map(|problem| problem.error).collect()))
            }
        }
    }
}

/// Keys and values of any length are quoted in errors: a person reads the start.
fn short(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(300) {
        text.truncate(end);
        text.push('…');
    }
    text
}
