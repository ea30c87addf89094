//! How records are laid out in an entry. Version 1: the list of what it knew of each. Version 2: that list, then lists of
//! what it knows more of each. Times there are distances from those of the first list, and each list has its own place:
//! three times as options behind each record cost 7.4 bytes where they differ, so 4.2, and 0.4 where they are alike.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Record, RecordRef, Recorded, Sent};
use crate::endpoint::Method;

/// A record of version 1.
#[derive(Deserialize)]
struct First<'a> {
    id: Cow<'a, str>,
    request_id: Cow<'a, str>,
    reference: Option<Cow<'a, str>>,
    host: Cow<'a, str>,
    method: Method,
    url: Cow<'a, str>,
    unmatched: Cow<'a, [String]>,
    accepted_at_ms: u64,
    attempt: u8,
    at_ms: u64,
    status: u16,
    error: Option<Cow<'a, str>>,
    response_time_us: u64,
    response_body: Cow<'a, str>,
    truncated: bool,
    then: Recorded,
}

/// An entry of version 2: lists as long as each other.
type Lists<'a> =
    (Vec<First<'a>>, Vec<[u64; 3]>, Vec<Option<Cow<'a, str>>>, Vec<Option<Cow<'a, Sent>>>);

/// Writes the newest version: each list in a buffer of its own, until it is known how long they are.
#[derive(Debug, Default)]
pub(super) struct Writer {
    lists: [Vec<u8>; 4],
    records: usize,
}

impl Writer {
    pub(super) fn push(&mut self, record: &RecordRef<'_>) {
        let [first, times, traces, sent] = &mut self.lists;
        put(first, &self::first(record));
        put(times, &self::times(record));
        put(traces, &record.traceparent);
        put(sent, &record.sent);
        self.records += 1;
    }

    pub(super) fn len(&self) -> usize {
        self.records
    }

    pub(super) fn size(&self) -> usize {
        self.lists.iter().map(Vec::len).sum()
    }

    /// Appends the lists, each behind its length, and has no records any more.
    pub(super) fn finish(&mut self, plain: &mut Vec<u8>) {
        plain.reserve(self.size() + 4 * size_of::<u64>());
        for list in &mut self.lists {
            put(plain, &self.records);
            plain.append(list);
        }
        self.records = 0;
    }
}

/// Appends a value in postcard.
fn put(bytes: &mut Vec<u8>, value: &impl Serialize) {
    // Plain data in memory: postcard has no way to fail on these types.
    *bytes = postcard::to_extend(value, std::mem::take(bytes)).unwrap_or_default();
}

/// The records of this version, if it is one.
pub(super) fn read(version: u8, plain: &[u8], settled_at_ms: u64) -> Option<Vec<Record>> {
    let records = match version {
        1 => {
            let all: Vec<First<'_>> = postcard::from_bytes(plain).ok()?;
            all.into_iter().map(|first| record(first, Second::default(), settled_at_ms)).collect()
        }
        2 => {
            let (first, times, traces, sent): Lists<'_> = postcard::from_bytes(plain).ok()?;
            if [times.len(), traces.len(), sent.len()] != [first.len(); 3] {
                return None;
            }
            let second = times.into_iter().zip(traces).zip(sent);
            let second = second.map(|((times, trace), sent)| Second { times, trace, sent });
            let all = first.into_iter().zip(second);
            all.map(|(first, second)| record(first, second, settled_at_ms)).collect()
        }
        _ => return None,
    };
    Some(records)
}

/// What version 1 knew, field by field as [`First`] has it.
fn first<'a>(record: &RecordRef<'a>) -> impl Serialize + use<'a> {
    (
        record.id,
        record.request_id,
        record.reference,
        record.host,
        record.method,
        record.url,
        record.unmatched,
        record.accepted_at_ms,
        record.attempt,
        record.at_ms,
        record.status,
        record.error,
        record.response_time_us,
        record.response_body,
        record.truncated,
        record.then,
    )
}

/// Receipt, nginx and reserve, each as its distance from a time told before it, plus 1; 0: not known. Clocks differ, so
/// that the receipt may lie on either side of the storing.
fn times(record: &RecordRef<'_>) -> [u64; 3] {
    let received_ms = record.received_at_ms.unwrap_or(record.accepted_at_ms);
    let zigzag = |n: i64| (n.cast_unsigned() << 1) ^ (n >> 63).cast_unsigned();
    let received = |at| zigzag(record.accepted_at_ms.wrapping_sub(at).cast_signed());
    [
        record.received_at_ms.map(received),
        record.nginx_at_ms.map(|at| received_ms.wrapping_sub(at)),
        record.reserved_at_ms.map(|at| record.at_ms.wrapping_sub(at)),
    ]
    .map(|distance| distance.map_or(0, |distance| distance.saturating_add(1)))
}

/// What version 2 knows more of a record.
#[derive(Default)]
struct Second<'a> {
    times: [u64; 3],
    trace: Option<Cow<'a, str>>,
    sent: Option<Cow<'a, Sent>>,
}

fn record(first: First<'_>, second: Second<'_>, settled_at_ms: u64) -> Record {
    let [received, nginx, reserved] = second.times.map(|stored| stored.checked_sub(1));
    let signed = |n: u64| (n >> 1) ^ (n & 1).wrapping_neg();
    let received_at_ms = received.map(|n| first.accepted_at_ms.wrapping_sub(signed(n)));
    let received_ms = received_at_ms.unwrap_or(first.accepted_at_ms);
    Record {
        id: first.id.into_owned(),
        request_id: first.request_id.into_owned(),
        reference: first.reference.map(Cow::into_owned),
        host: first.host.into_owned(),
        method: first.method,
        url: first.url.into_owned(),
        unmatched: first.unmatched.into_owned(),
        accepted_at_ms: first.accepted_at_ms,
        attempt: first.attempt,
        at_ms: first.at_ms,
        status: first.status,
        error: first.error.map(Cow::into_owned),
        response_time_us: first.response_time_us,
        response_body: first.response_body.into_owned(),
        truncated: first.truncated,
        then: first.then,
        received_at_ms,
        nginx_at_ms: nginx.map(|back| received_ms.wrapping_sub(back)),
        reserved_at_ms: reserved.map(|back| first.at_ms.wrapping_sub(back)),
        traceparent: second.trace.map(Cow::into_owned),
        sent: second.sent.map(|sent| Box::new(sent.into_owned())),
        settled_at_ms,
    }
}

#[cfg(test)]
pub(super) fn write_version_1(records: &[RecordRef<'_>]) -> Vec<u8> {
    postcard::to_allocvec(&records.iter().map(first).collect::<Vec<_>>()).unwrap()
}
