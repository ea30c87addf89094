//! The states of a batch's rows: `rows:<id>`.
//!
//! A head that the scripts read (version, crashes, how many rows are pending, delivered, dead, and the least
//! not-before of the pending ones), then runs of equal rows. Written by the worker that holds the batch.

use crate::attempt::Cause;

/// The version written. Another one's states cannot be read: the batch is dead, cause `undecodable`.
const VERSION: u8 = 1;
const HEAD: usize = 14;
const RUN: usize = 18;
const PENDING: u8 = 0;
const DELIVERED: u8 = 1;
const DROPPED: u8 = 2;
const DEAD: u8 = 10;
/// On the way to `settle` only: pending, and not-before is a wait from Redis's now.
const WAITING: u8 = 255;

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// To be sent, not before this time (milliseconds since 1970, Redis's; 0: at once).
    Pending(u64),
    /// To be sent after this wait (milliseconds) from the moment of settling.
    Waiting(u64),
    /// Delivered.
    Delivered,
    /// In the dead letters.
    Dead(Cause),
    /// Removed from the dead letters by hand or by their bound.
    Dropped,
}

/// One row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowState {
    /// Where it stands.
    pub state: State,
    /// Attempts made; 255 means that many or more.
    pub attempts: u8,
    /// HTTP status of the last attempt; 0: none.
    pub status: u16,
    /// When a dead row died (in whole seconds, so that rows stay equal and are stored as one run), or when a pending
    /// one was replayed, from when its `expires_in` counts; milliseconds since 1970, Redis's time. 0: neither.
    pub since_ms: u64,
}

/// All rows of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowStates {
    /// Workers that died with the batch since a row of it was last settled.
    pub crashes: u8,
    /// The rows, in order.
    pub rows: Vec<RowState>,
}

impl RowState {
    /// A row not yet tried.
    pub const NEW: RowState =
        RowState { state: State::Pending(0), attempts: 0, status: 0, since_ms: 0 };

    /// Whether the row is still to be sent.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Pending(_) | State::Waiting(_))
    }

    /// The row dies of this, at this time (milliseconds since 1970, Redis's).
    pub fn die(&mut self, cause: Cause, now_ms: u64) {
        self.state = State::Dead(cause);
        self.since_ms = now_ms / 1000 * 1000;
    }

    fn code(&self) -> (u8, u64) {
        match self.state {
            State::Pending(at) => (PENDING, at),
            State::Waiting(wait) => (WAITING, wait),
            State::Delivered => (DELIVERED, 0),
            State::Dropped => (DROPPED, 0),
            State::Dead(cause) => (DEAD + cause as u8, 0),
        }
    }
}

impl RowStates {
    /// A batch of `rows` rows that nobody has tried.
    pub fn new(rows: u16) -> RowStates {
        RowStates { crashes: 0, rows: vec![RowState::NEW; usize::from(rows)] }
    }

    /// How many rows satisfy a condition.
    pub fn count(&self, condition: impl Fn(&RowState) -> bool) -> usize {
        self.rows.iter().filter(|row| condition(row)).count()
    }

    /// The stored form.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + 4 * RUN);
        let least = self.rows.iter().filter_map(|row| match row.state {
            State::Pending(at) => Some(at),
            State::Waiting(_) => Some(u64::MAX >> 16),
            _ => None,
        });
        bytes.push(VERSION);
        bytes.push(self.crashes);
        for count in [
            self.count(RowState::is_pending),
            self.count(|row| row.state == State::Delivered),
            self.count(|row| matches!(row.state, State::Dead(_))),
        ] {
            bytes.extend_from_slice(&(count as u16).to_be_bytes());
        }
        bytes.extend_from_slice(&least.min().unwrap_or_default().to_be_bytes()[2..]);
        for run in self.rows.chunk_by(|a, b| a == b) {
            let (code, at) = run[0].code();
            bytes.extend_from_slice(&(run.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&[code, run[0].attempts]);
            bytes.extend_from_slice(&run[0].status.to_be_bytes());
            bytes.extend_from_slice(&at.to_be_bytes()[2..]);
            bytes.extend_from_slice(&run[0].since_ms.to_be_bytes()[2..]);
        }
        bytes
    }

    /// Reads the stored form; `None` when it is damaged. Empty bytes are `rows` rows that nobody has tried.
    pub fn decode(bytes: &[u8], rows: u16) -> Option<RowStates> {
        if bytes.is_empty() {
            return Some(RowStates::new(rows));
        }
        let (head, runs) = bytes.split_at_checked(HEAD).filter(|(head, _)| head[0] == VERSION)?;
        let mut states =
            RowStates { crashes: head[1], rows: Vec::with_capacity(usize::from(rows)) };
        let runs = runs.chunks_exact(RUN);
        if !runs.remainder().is_empty() {
            return None;
        }
        for run in runs {
            let [c0, c1, code, attempts, s0, s1, times @ ..] = run else { return None };
            let time = |bytes: &[u8]| bytes.iter().fold(0, |n, byte| n << 8 | u64::from(*byte));
            let (at, since_ms) = (time(&times[..6]), time(&times[6..]));
            let state = match *code {
                PENDING => State::Pending(at),
                WAITING => State::Waiting(at),
                DELIVERED => State::Delivered,
                DROPPED => State::Dropped,
                dead => State::Dead(Cause::from_number(dead.checked_sub(DEAD)?)?),
            };
            let status = u16::from_be_bytes([*s0, *s1]);
            let row = RowState { state, attempts: *attempts, status, since_ms };
            let count = usize::from(u16::from_be_bytes([*c0, *c1]));
            if states.rows.len() + count > usize::from(rows) {
                return None;
            }
            states.rows.resize(states.rows.len() + count, row);
        }
        (states.rows.len() == usize::from(rows)).then_some(states)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_come_back_as_they_went_in() {
        let mut states = RowStates::new(5);
        states.crashes = 3;
        let row =
            |state, attempts, status, since_ms| RowState { state, attempts, status, since_ms };
        states.rows[1] = row(State::Dead(Cause::Cancelled), 8, 503, 1 << 41);
        states.rows[2] = row(State::Pending(1 << 41), 1, 0, 7);
        states.rows[3] = row(State::Delivered, 2, 204, 0);
        states.rows[4] = row(State::Waiting(5000), 2, 204, 0);
        assert_eq!(RowStates::decode(&states.encode(), 5), Some(states));
    }

    #[test]
    fn damage_is_told_without_a_panic() {
        let bytes = RowStates::new(256).encode();
        assert_eq!(bytes.len(), HEAD + RUN);
        assert_eq!(RowStates::decode(&bytes, 255), None);
        for cut in 1..bytes.len() {
            assert_eq!(RowStates::decode(&bytes[..cut], 256), None, "cut at {cut}");
        }
    }
}
