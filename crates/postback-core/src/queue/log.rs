//! An entry of the delivery log: many outcomes, encoded together.
//!
//! Layout: version (1 byte), length before compression (4 bytes, 0: stored plain), then the records in postcard.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{attempt::Cause, batch, endpoint::Method, needle::Needle};

const VERSION: u8 = 1;
/// Below this zstd gains nothing.
const WORTH: usize = 512;

/// What the log keeps of one attempt, enough to answer for a postback that is gone from the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
    /// When it was stored, milliseconds since 1970, Redis's time.
    pub accepted_at_ms: u64,
    /// Which attempt this was, from 1; 0: it died without one.
    pub attempt: u8,
    /// When the attempt began (or the row died), milliseconds since 1970, Redis's time.
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

/// Encodes an entry; no records give no bytes.
pub fn encode_log(records: &[&Record]) -> Vec<u8> {
    if records.is_empty() {
        return Vec::new();
    }
    let plain = postcard::to_allocvec(records).unwrap_or_default();
    let packed = if plain.len() > WORTH { batch::compress(&plain) } else { None };
    let length = packed.as_ref().map_or(0, |_| plain.len() as u32);
    let content = packed.unwrap_or(plain);
    let mut bytes = Vec::with_capacity(5 + content.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&content);
    bytes
}

/// Reads an entry; one that cannot be read (damaged, or of a newer version) has no records.
pub fn decode_log(bytes: &[u8]) -> Vec<Record> {
    decode_log_with(bytes, None)
}

/// The same, but no records where this text is nowhere in them: they hold their texts as they are.
pub(super) fn decode_log_with(bytes: &[u8], text: Option<&Needle>) -> Vec<Record> {
    let Some((&[VERSION, l0, l1, l2, l3], content)) = bytes.split_first_chunk::<5>() else {
        return Vec::new();
    };
    let plain = match u32::from_be_bytes([l0, l1, l2, l3]) as usize {
        0 => Some(Cow::Borrowed(content)),
        length => batch::decompress(content, length).map(Cow::Owned),
    };
    let plain = plain.filter(|plain| text.is_none_or(|text| text.is_in(plain)));
    plain.and_then(|plain| postcard::from_bytes(&plain).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_as_it_went_in() {
        let record = |n: u8| Record {
            id: format!("a-{n}"),
            request_id: "r".into(),
            reference: Some("click".into()),
            host: "a.com:80".into(),
            method: Method::Get,
            url: "http://a.com/".into(),
            unmatched: vec!["x".into()],
            accepted_at_ms: 1,
            attempt: n,
            at_ms: 2,
            status: 200,
            error: None,
            response_time_us: 3,
            response_body: "ok".into(),
            truncated: false,
            then: Recorded::Delivered,
        };
        for n in [0, 1, 100] {
            let records: Vec<_> = (0..n).map(record).collect();
            assert_eq!(decode_log(&encode_log(&records.iter().collect::<Vec<_>>())), records);
        }
    }

    #[test]
    fn a_damaged_entry_has_no_records() {
        for bytes in [&[][..], &[9, 0, 0, 0, 0], &[1, 0, 0, 0, 0, 5], &[1, 255, 255, 255, 255, 5]] {
            assert_eq!(decode_log(bytes), []);
        }
    }
}
