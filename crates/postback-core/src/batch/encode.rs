//! How batches are written: rows are encoded once, when their request is read, and put into batches with their
//! sources when they are stored.

use serde::Serialize;

use super::{EncodedBatch, MAX_BYTES, MAX_ROWS, PREFIX, Source, VERSION, compress};
use crate::{endpoint::EndpointTemplate, policy::Policy, value::Row};

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

/// The rows of one request, encoded but not yet in batches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedRows {
    head: Vec<u8>,
    rows: Vec<u8>,
    /// Where each row ends in `rows`.
    ends: Vec<usize>,
}

impl EncodedRows {
    /// Encodes rows that go to `endpoint` by `policy`.
    pub fn new(endpoint: &EndpointTemplate, policy: &Policy, rows: &[Row<'_>]) -> EncodedRows {
        let head = plain(&Shared { endpoint, policy });
        let mut encoded = EncodedRows { head, rows: vec![], ends: Vec::with_capacity(rows.len()) };
        let mut buffer = Vec::with_capacity(ROOM);
        for row in rows {
            buffer.clear();
            buffer = postcard::to_extend(row, buffer).unwrap_or_default();
            let mut length = [0; LENGTH];
            let length = postcard::to_slice(&buffer.len(), &mut length).unwrap_or_default();
            encoded.rows.extend_from_slice(length);
            encoded.rows.extend_from_slice(&buffer);
            encoded.ends.push(encoded.rows.len());
        }
        encoded
    }

    /// Endpoint and policy, encoded. Rows can be in one batch when this is the same.
    pub fn head(&self) -> &[u8] {
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
        let room = MAX_BYTES.saturating_sub(self.head.len() + sources.len());
        let mut batches = Vec::with_capacity(self.len() / MAX_ROWS + 1);
        let (mut begin, mut end, mut count) = (0, 0, 0);
        for next in &self.ends {
            if count > 0 && (count == MAX_ROWS || next - begin > room) {
                batches.push(seal(&[&self.head, &sources, &self.rows[begin..end]], count));
                (begin, count) = (end, 0);
            }
            (end, count) = (*next, count + 1);
        }
        if count > 0 {
            batches.push(seal(&[&self.head, &sources, &self.rows[begin..end]], count));
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
    let head = requests.first().map_or(&[][..], |(_, encoded)| encoded.head());
    (seal(&[head, &plain(&sources[..]), &rows], count), firsts)
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
