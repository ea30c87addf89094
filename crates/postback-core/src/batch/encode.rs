//! How batches are written: rows are encoded once, when their request is read, and put into batches with their
//! sources when they are stored.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{EncodedBatch, MAX_BYTES, MAX_ROWS, PREFIX, Source, VERSION, compress};
use crate::{
    endpoint::EndpointTemplate,
    policy::Policy,
    value::{Row, Value},
};

/// The most bytes that a length takes in postcard.
const LENGTH: usize = 10;
/// The most bytes of a source beside its texts: two lengths, an option, a time, a row and a distance in time.
const SOURCE: usize = 2 * LENGTH + 1 + LENGTH + 3 + 6;
/// What is encoded mostly takes no more: memory is asked for once.
const ROOM: usize = 512;

/// What a batch has once, but for its sources.
#[derive(Serialize)]
struct Shared<'a> {
    endpoint: &'a EndpointTemplate,
    policy: &'a Policy,
}

/// Endpoint and policy, encoded: cheap to copy and to compare.
#[derive(Debug, Clone)]
pub struct EncodedHead {
    bytes: Arc<[u8]>,
    /// Of a hash for which nobody finds two texts.
    hash: u64,
}

impl EncodedHead {
    /// Encodes what a batch has once.
    pub fn new(endpoint: &EndpointTemplate, policy: &Policy) -> EncodedHead {
        let bytes: Arc<[u8]> = plain(&Shared { endpoint, policy }).into();
        let mut hash = [0; 8];
        hash.copy_from_slice(&Sha256::digest(&bytes)[..8]);
        EncodedHead { bytes, hash: u64::from_le_bytes(hash) }
    }

    /// As it is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl PartialEq for EncodedHead {
    fn eq(&self, other: &EncodedHead) -> bool {
        Arc::ptr_eq(&self.bytes, &other.bytes)
            || self.hash == other.hash && self.bytes == other.bytes
    }
}

impl Eq for EncodedHead {}

impl Hash for EncodedHead {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// The rows of one request, encoded but not yet in batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRows {
    head: EncodedHead,
    rows: Vec<u8>,
    /// Where each row ends in `rows`.
    ends: Vec<usize>,
}

impl EncodedRows {
    /// None yet.
    pub fn of(head: EncodedHead) -> EncodedRows {
        EncodedRows { head, rows: vec![], ends: vec![] }
    }

    /// Encodes rows that go to `endpoint` by `policy`.
    pub fn new(endpoint: &EndpointTemplate, policy: &Policy, rows: &[Row<'_>]) -> EncodedRows {
        let mut encoded = EncodedRows::of(EncodedHead::new(endpoint, policy));
        rows.iter().for_each(|row| encoded.push(row));
        encoded
    }

    /// Encodes one more row.
    pub fn push(&mut self, row: &Row<'_>) {
        if let Some(size) = flat_size(row) {
            self.rows.reserve(LENGTH + size);
            push_length(size, &mut self.rows);
            push_flat(row, &mut self.rows);
        } else {
            let encoded = plain(row);
            push_length(encoded.len(), &mut self.rows);
            self.rows.extend_from_slice(&encoded);
        }
        self.ends.push(self.rows.len());
    }

    /// Endpoint and policy, encoded. Rows can be in one batch when this is the same.
    pub fn head(&self) -> &EncodedHead {
        &self.head
    }

    /// How many rows.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// How many bytes they and their source take in a batch, without its head; at most.
    pub fn size(&self, source: &Source) -> usize {
        let trace = source.traceparent.as_ref().map_or(0, String::len);
        SOURCE + source.request_id.len() + trace + self.rows.len()
    }

    /// Splits them into batches of their own.
    pub fn batches(&self, source: &Source) -> Vec<EncodedBatch> {
        let sources = plain(&[Source { first_row: 0, ..source.clone() }][..]);
        let head = self.head.as_bytes();
        let room = MAX_BYTES.saturating_sub(head.len() + sources.len());
        let mut batches = Vec::with_capacity(self.len() / MAX_ROWS + 1);
        let (mut begin, mut end, mut count) = (0, 0, 0);
        for next in &self.ends {
            if count > 0 && (count == MAX_ROWS || next - begin > room) {
                batches.push(seal(&[head, &sources, &self.rows[begin..end]], count));
                (begin, count) = (end, 0);
            }
            (end, count) = (*next, count + 1);
        }
        if count > 0 {
            batches.push(seal(&[head, &sources, &self.rows[begin..end]], count));
        }
        batches
    }
}

/// Splits the rows of one request into batches and encodes each.
pub fn encode(
    endpoint: &EndpointTemplate,
    policy: &Policy,
    source: &Source,
    rows: &[Row<'_>],
) -> Vec<EncodedBatch> {
    EncodedRows::new(endpoint, policy, rows).batches(source)
}

/// One batch of the rows of several requests, and for each of them its first row there. They must have the same
/// head, at most [`MAX_ROWS`] rows, and should take at most [`MAX_BYTES`].
pub fn join(requests: &[(&Source, &EncodedRows)]) -> (EncodedBatch, Vec<u16>) {
    let (mut sources, mut firsts, mut rows, mut count) = (vec![], vec![], vec![], 0);
    for (source, encoded) in requests {
        let first_row = count as u16;
        firsts.push(first_row);
        sources.push(Source { first_row, ..(*source).clone() });
        rows.extend_from_slice(&encoded.rows);
        count += encoded.len();
    }
    let head = requests.first().map_or(&[][..], |(_, encoded)| encoded.head.as_bytes());
    (seal(&[head, &plain(&sources[..]), &rows], count), firsts)
}

/// What [`push_flat`] writes of a row, in bytes; `None` for one with lists or objects.
fn flat_size(row: &Row<'_>) -> Option<usize> {
    let sizes = row.iter().map(|value| match value {
        Value::Null => Some(1),
        Value::Text(text) | Value::Literal(text) => Some(1 + length_size(text.len()) + text.len()),
        Value::List(_) | Value::Object(_) => None,
    });
    Some(length_size(row.len()) + sizes.sum::<Option<usize>>()?)
}

/// Writes what postcard writes of the row, for a quarter of the time.
fn push_flat(row: &Row<'_>, out: &mut Vec<u8>) {
    push_length(row.len(), out);
    for value in row {
        let (variant, text) = match value {
            Value::Text(text) => (1, text),
            Value::Literal(text) => (2, text),
            Value::Null | Value::List(_) | Value::Object(_) => {
                out.push(0);
                continue;
            }
        };
        out.push(variant);
        push_length(text.len(), out);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Writes a length as postcard does: seven bits a byte, the lowest first, each but the last marked.
fn push_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 0x7F {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}

fn length_size(length: usize) -> usize {
    (length.max(1).ilog2() / 7 + 1) as usize
}

fn plain<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    // Plain data in memory: postcard has no way to fail on these types.
    postcard::to_extend(value, Vec::with_capacity(ROOM)).unwrap_or_default()
}

fn seal(parts: &[&[u8]], rows: usize) -> EncodedBatch {
    let plain = parts.concat();
    let rows = u16::try_from(rows).unwrap_or_default();
    let packed = compress(&plain).filter(|packed| packed.len() < plain.len());
    let length = packed.as_ref().map_or(0, |_| u32::try_from(plain.len()).unwrap_or_default());
    let content = packed.as_deref().unwrap_or(&plain);
    let mut bytes = Vec::with_capacity(PREFIX + content.len());
    bytes.push(VERSION);
    bytes.extend_from_slice(&rows.to_be_bytes());
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(content);
    EncodedBatch { rows, bytes }
}
