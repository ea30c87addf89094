//! The log's records that Redis does not have yet, in pieces that one settle can take.

use std::collections::VecDeque;

use postback_core::queue::{LogWriter, RecordRef, Recorded};

/// The most records of one settle, and the most bytes that they take (one may be larger): so much arrives in time over a
/// slow link too, twice where all have failed. A settle that does not is repeated for good, and nothing is sent.
const RECORDS: usize = 1024;
const BYTES: usize = 2 * 1024 * 1024;
/// The memory of a piece that took more than this is not kept for the next.
const KEPT: usize = 512 * 1024;

/// Pieces in the order in which they came; only the last is not full.
#[derive(Default)]
pub(super) struct Records {
    pieces: VecDeque<Piece>,
    spare: Piece,
    waiting: usize,
}

/// What goes into the log with one settle, and the failures among it.
#[derive(Default)]
struct Piece {
    log: LogWriter,
    errors: LogWriter,
}

/// Entries for the log and for the failures.
#[derive(Default)]
pub(super) struct Entries {
    pub(super) records: usize,
    pub(super) log: Vec<u8>,
    pub(super) errors: Vec<u8>,
}

impl Records {
    pub(super) fn push(&mut self, record: &RecordRef<'_>) {
        self.waiting += 1;
        let has_room = |piece: &Piece| piece.log.len() < RECORDS && piece.log.size() < BYTES;
        if !self.pieces.back().is_some_and(has_room) {
            self.pieces.push_back(std::mem::take(&mut self.spare));
        }
        let Some(piece) = self.pieces.back_mut() else { return };
        piece.log.push(record);
        if record.then != Recorded::Delivered {
            piece.errors.push(record);
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    /// Takes the oldest, as many as one settle may tell of.
    pub(super) fn take(&mut self) -> Entries {
        let Some(mut piece) = self.pieces.pop_front() else { return Entries::default() };
        let (records, size) = (piece.log.len(), piece.log.size());
        self.waiting -= records;
        let entries = Entries { records, log: piece.log.finish(), errors: piece.errors.finish() };
        if size <= KEPT {
            self.spare = piece;
        }
        entries
    }
}

#[cfg(test)]
mod tests {
    use postback_core::{endpoint::Method, queue::decode_log};

    use super::*;

    fn push(records: &mut Records, url: &str, then: Recorded) {
        records.push(&RecordRef {
            id: "id",
            request_id: "",
            reference: None,
            host: "",
            method: Method::Get,
            url,
            unmatched: &[],
            accepted_at_ms: 0,
            attempt: 1,
            at_ms: 0,
            status: 0,
            error: None,
            response_time_us: 0,
            response_body: "",
            truncated: false,
            then,
            received_at_ms: None,
            nginx_at_ms: None,
            reserved_at_ms: None,
            traceparent: None,
            sent: None,
        });
    }

    #[test]
    fn a_settle_is_bounded_by_count_and_bytes_and_never_without_a_record() {
        let check = |size: usize, n: usize, expect: &[usize]| {
            let mut records = Records::default();
            let url = "x".repeat(size);
            (0..n).for_each(|_| push(&mut records, &url, Recorded::Delivered));
            let mut taken = Vec::new();
            while records.len() > 0 {
                let entries = records.take();
                assert_eq!(decode_log(&entries.log, 0).len(), entries.records);
                taken.push(entries.records);
            }
            assert_eq!(taken, expect, "{size}");
        };
        check(200, 0, &[]);
        check(200, 700, &[700]);
        check(200, 2500, &[1024, 1024, 452]);
        check(16 * 1024, 300, &[128, 128, 44]);
        check(BYTES + 1, 3, &[1, 1, 1]);
    }

    #[test]
    fn failures_are_told_a_second_time_and_nothing_comes_twice() {
        let mut records = Records::default();
        for round in ["first", "second"] {
            push(&mut records, round, Recorded::Delivered);
            push(&mut records, round, Recorded::Retry(5));
            let entries = records.take();
            let urls =
                |entry: &[u8]| decode_log(entry, 0).into_iter().map(|r| r.url).collect::<Vec<_>>();
            assert_eq!(urls(&entries.log), [round, round]);
            assert_eq!(urls(&entries.errors), [round]);
        }
        assert_eq!(records.take().records, 0);
    }
}
