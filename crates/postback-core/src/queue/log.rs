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

impl Record {
    /// How many bytes its texts take in an entry, before compression.
    pub fn size(&self) -> usize {
        let texts = [
            self.id.len(),
            self.request_id.len(),
            self.reference.as_ref().map_or(0, String::len),
            self.host.len(),
            self.url.len(),
            self.error.as_ref().map_or(0, String::len),
            self.response_body.len(),
            self.traceparent.as_ref().map_or(0, String::len),
        ];
        let unmatched: usize = self.unmatched.iter().map(String::len).sum();
        let sent = self.sent.as_ref().map_or(0, |sent| {
            let headers = sent.headers.iter().map(|(name, value)| name.len() + value.len());
            headers.sum::<usize>() + sent.body.as_ref().map_or(0, String::len)
        });
        texts.iter().sum::<usize>() + unmatched + sent
    }
}

/// Encodes an entry; no records give no bytes.
pub fn encode_log(records: &[&Record]) -> Vec<u8> {
    if records.is_empty() {
        return Vec::new();
    }
    let plain = stored::write(records);
    let packed = if plain.len() > WORTH { batch::compress(&plain) } else { None };
    let length = packed.as_ref().map_or(0, |_| plain.len() as u32);
    let content = packed.unwrap_or(plain);
    let mut bytes = Vec::with_capacity(5 + content.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&content);
    bytes
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
