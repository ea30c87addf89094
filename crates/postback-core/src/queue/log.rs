//! An entry of the delivery log: many outcomes, encoded together.
//!
//! Layout: version (1 byte), length before compression (4 bytes, 0: stored plain), then the records in postcard, as
//! `log/stored.rs` lays them out.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{attempt::Cause, batch, endpoint::Method, needle::Needle};

mod stored;
#[cfg(test)]
mod tests;

const VERSION: u8 = 2;
/// Below this zstd gains nothing.
const WORTH: usize = 512;

/// What the log keeps of one attempt, enough to answer for a postback that is gone from the queue.
///
/// Times are in milliseconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The postback's id.
    pub id: String,
    /// The request that brought it.
    pub request_id: String,
    /// The caller's own name for it.
    pub reference: Option<String>,
    /// Where it goes: `host:port`.
    pub host: String,
    /// The method.
    pub method: Method,
    /// The URL as sent.
    pub url: String,
    /// Placeholders that had no value.
    pub unmatched: Vec<String>,
    /// When it was stored, Redis's time.
    pub accepted_at_ms: u64,
    /// Which attempt this was, from 1; 0: it died without one.
    pub attempt: u8,
    /// When the attempt began (or the row died), Redis's time.
    pub at_ms: u64,
    /// The answer's status; 0: no complete answer.
    pub status: u16,
    /// What went wrong, for people.
    pub error: Option<String>,
    /// First byte out to last byte in, microseconds.
    pub response_time_us: u64,
    /// The first 1 KiB of the answer's body, as text.
    pub response_body: String,
    /// Whether the body went on.
    pub truncated: bool,
    /// What became of the row.
    pub then: Recorded,
    /// When ingest received the request, by ingest's clock; `None`: not known, as in entries of version 1.
    pub received_at_ms: Option<u64>,
    /// When nginx began to read the request, by nginx's clock; `None`: it did not tell.
    pub nginx_at_ms: Option<u64>,
    /// When the worker took the batch for this attempt, Redis's time; `None`: an entry of version 1, which kept none of
    /// what follows either.
    pub reserved_at_ms: Option<u64>,
    /// The request's own `traceparent`; `None`: it had none.
    pub traceparent: Option<String>,
    /// What was sent beside the URL; `None`: nothing.
    pub sent: Option<Box<Sent>>,
    /// When it was written into the log, Redis's time: the entry's own, which is not stored in it; 0: it is not yet.
    pub settled_at_ms: u64,
}

/// The endpoint's own headers and the body of a request as it was sent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// Headers, in the order sent; those that hold secrets are masked.
    pub headers: Vec<(String, String)>,
    /// The first 1 KiB of the body; `None`: there was none.
    pub body: Option<String>,
    /// Whether headers or body went on.
    pub truncated: bool,
}

/// What became of a row after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Recorded {
    /// Delivered.
    Delivered,
    /// To be tried again at this time, milliseconds since 1970, Redis's time.
    Retry(u64),
    /// Dead.
    Dead(Cause),
}

/// A [`Record`] that is about to be written: its texts are still where they came from.
#[derive(Debug, Clone, Copy)]
#[expect(missing_docs, reason = "the fields are those of `Record`")]
pub struct RecordRef<'a> {
    pub id: &'a str,
    pub request_id: &'a str,
    pub reference: Option<&'a str>,
    pub host: &'a str,
    pub method: Method,
    pub url: &'a str,
    pub unmatched: &'a [&'a str],
    pub accepted_at_ms: u64,
    pub attempt: u8,
    pub at_ms: u64,
    pub status: u16,
    pub error: Option<&'a str>,
    pub response_time_us: u64,
    pub response_body: &'a str,
    pub truncated: bool,
    pub then: Recorded,
    pub received_at_ms: Option<u64>,
    pub nginx_at_ms: Option<u64>,
    pub reserved_at_ms: Option<u64>,
    pub traceparent: Option<&'a str>,
    pub sent: Option<&'a Sent>,
}

impl RecordRef<'_> {
    /// The same with texts of its own; it is not settled yet.
    pub fn to_record(&self) -> Record {
        Record {
            id: self.id.to_owned(),
            request_id: self.request_id.to_owned(),
            reference: self.reference.map(str::to_owned),
            host: self.host.to_owned(),
            method: self.method,
            url: self.url.to_owned(),
            unmatched: self.unmatched.iter().map(ToString::to_string).collect(),
            accepted_at_ms: self.accepted_at_ms,
            attempt: self.attempt,
            at_ms: self.at_ms,
            status: self.status,
            error: self.error.map(str::to_owned),
            response_time_us: self.response_time_us,
            response_body: self.response_body.to_owned(),
            truncated: self.truncated,
            then: self.then,
            received_at_ms: self.received_at_ms,
            nginx_at_ms: self.nginx_at_ms,
            reserved_at_ms: self.reserved_at_ms,
            traceparent: self.traceparent.map(str::to_owned),
            sent: self.sent.cloned().map(Box::new),
            settled_at_ms: 0,
        }
    }
}

impl Record {
    /// The same to be written; `unmatched` are its own.
    fn borrowed<'a>(&'a self, unmatched: &'a [&'a str]) -> RecordRef<'a> {
        RecordRef {
            id: &self.id,
            request_id: &self.request_id,
            reference: self.reference.as_deref(),
            host: &self.host,
            method: self.method,
            url: &self.url,
            unmatched,
            accepted_at_ms: self.accepted_at_ms,
            attempt: self.attempt,
            at_ms: self.at_ms,
            status: self.status,
            error: self.error.as_deref(),
            response_time_us: self.response_time_us,
            response_body: &self.response_body,
            truncated: self.truncated,
            then: self.then,
            received_at_ms: self.received_at_ms,
            nginx_at_ms: self.nginx_at_ms,
            reserved_at_ms: self.reserved_at_ms,
            traceparent: self.traceparent.as_deref(),
            sent: self.sent.as_deref(),
        }
    }
}

/// An entry in the making. A record is written as soon as there is one, so that none is kept in another form, and the
/// memory serves one entry after the other.
#[derive(Debug, Default)]
pub struct LogWriter {
    lists: stored::Writer,
    plain: Vec<u8>,
}

impl LogWriter {
    /// Adds a record.
    pub fn push(&mut self, record: &RecordRef<'_>) {
        self.lists.push(record);
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.lists.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they take before compression.
    pub fn size(&self) -> usize {
        self.lists.size()
    }

    /// The entry, which no records make empty. The writer has none after it.
    pub fn finish(&mut self) -> Vec<u8> {
        if self.is_empty() {
            return Vec::new();
        }
        self.plain.clear();
        self.lists.finish(&mut self.plain);
        let plain = &self.plain;
        let packed = if plain.len() > WORTH { batch::compress(plain) } else { None };
        let length = packed.as_ref().map_or(0, |_| plain.len() as u32);
        let content = packed.as_ref().unwrap_or(plain);
        let mut bytes = Vec::with_capacity(5 + content.len());
        bytes.push(VERSION);
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(content);
        bytes
    }
}

/// Encodes an entry; no records give no bytes.
pub fn encode_log(records: &[&Record]) -> Vec<u8> {
    let mut writer = LogWriter::default();
    for record in records {
        let unmatched: Vec<&str> = record.unmatched.iter().map(String::as_str).collect();
        writer.push(&record.borrowed(&unmatched));
    }
    writer.finish()
}

/// Reads an entry that was written at `settled_at_ms` (the stream entry's own time); one that cannot be read (damaged, or
/// of a newer version) has no records.
pub fn decode_log(bytes: &[u8], settled_at_ms: u64) -> Vec<Record> {
    decode_log_with(bytes, settled_at_ms, None)
}

/// The same, but no records where this text is nowhere in them: they hold their texts as they are.
pub(super) fn decode_log_with(
    bytes: &[u8],
    settled_at_ms: u64,
    text: Option<&Needle>,
) -> Vec<Record> {
    let Some((&[version, l0, l1, l2, l3], content)) = bytes.split_first_chunk::<5>() else {
        return Vec::new();
    };
    let plain = match u32::from_be_bytes([l0, l1, l2, l3]) as usize {
        0 => Some(Cow::Borrowed(content)),
        length => batch::decompress(content, length).map(Cow::Owned),
    };
    let plain = plain.filter(|plain| text.is_none_or(|text| text.is_in(plain)));
    plain.and_then(|plain| stored::read(version, &plain, settled_at_ms)).unwrap_or_default()
}
