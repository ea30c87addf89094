//! The stored form: up to 256 rows with one endpoint and policy, written once and never rewritten.
//!
//! Layout: version (1 byte), rows (2 bytes, big-endian), length before compression (4 bytes, 0: stored
//! plain), then the head in postcard, then each row in postcard behind its length. The first three bytes
//! keep their meaning in every version: the queue's scripts read the row count from them. The head is endpoint, policy
//! and sources, in this order. In version 1 a source ends with its first row.
//!
//! How it is written is in `batch/encode.rs`.

use std::{cell::RefCell, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    endpoint::{Endpoint, EndpointError},
    policy::Policy,
    value::{Row, read_row},
};

mod encode;
mod search;
mod shared;
#[cfg(test)]
mod tests;

pub use self::encode::{EncodedHead, EncodedRows, encode, join};
use self::shared::Shared;

/// The version written.
pub const VERSION: u8 = 2;
/// The most rows in a batch.
pub const MAX_ROWS: usize = 256;
/// The most bytes of head and rows before compression, unless one row alone is larger.
pub const MAX_BYTES: usize = 64 * 1024;
/// The longest content that is decoded: a row as large as the largest request body, several times over.
const MAX_PLAIN: usize = 256 * 1024 * 1024;
/// zstd's level: on rows of eight short fields 1 stores 42 bytes a row where 3 stores 40, for a third of the time.
const LEVEL: i32 = 1;
const PREFIX: usize = 7;

/// Where a batch's rows came from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The request's id.
    pub request_id: String,
    /// The request's W3C trace context, if it had one.
    pub traceparent: Option<String>,
    /// When ingest received the request, milliseconds since 1970 by ingest's clock.
    pub received_at_ms: u64,
    /// The first row, from 0, that came with it.
    pub first_row: u16,
    /// How long before that nginx began to read the request, milliseconds; `None`: it did not tell.
    pub nginx_ms: Option<u32>,
}

impl Source {
    /// When nginx began to read the request, milliseconds since 1970 by ingest's clock, if it told.
    pub fn nginx_at_ms(&self) -> Option<u64> {
        self.nginx_ms.map(|ms| self.received_at_ms.saturating_sub(ms.into()))
    }
}

/// A batch ready to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedBatch {
    /// How many rows it holds, 1 to 256.
    pub rows: u16,
    /// The stored form.
    pub bytes: Vec<u8>,
}

/// Why a stored batch cannot be read.
#[derive(Debug, Error)]
pub enum BatchError {
    /// Written by another version of this program.
    #[error("stored batch has format version {0}, this program reads {VERSION}: upgrade deliver")]
    Version(u8),
    /// The bytes are not a batch.
    #[error("stored batch is damaged: {0}")]
    Damaged(&'static str),
    /// The endpoint is not one that ingest would have stored.
    #[error("stored batch has a bad endpoint: {0}")]
    Endpoint(#[from] EndpointError),
}

/// A source of version 1.
#[derive(Deserialize)]
struct Source1 {
    request_id: String,
    traceparent: Option<String>,
    received_at_ms: u64,
    first_row: u16,
}

impl From<Source1> for Source {
    fn from(source: Source1) -> Source {
        let Source1 { request_id, traceparent, received_at_ms, first_row } = source;
        Source { request_id, traceparent, received_at_ms, first_row, nginx_ms: None }
    }
}

/// A batch's sources, as this version stores them, and what follows them.
fn read_sources(version: u8, plain: &[u8]) -> Result<(Vec<Source>, &[u8]), BatchError> {
    let damaged = |_| BatchError::Damaged("head");
    match version {
        1 => {
            let (sources, rest) =
                postcard::take_from_bytes::<Vec<Source1>>(plain).map_err(damaged)?;
            Ok((sources.into_iter().map(Source::from).collect(), rest))
        }
        VERSION => postcard::take_from_bytes(plain).map_err(damaged),
        other => Err(BatchError::Version(other)),
    }
}

/// A batch as deliver works with it.
#[derive(Debug)]
pub struct Batch {
    /// What to call. Batches of the same endpoint and policy share both.
    pub endpoint: Arc<Endpoint>,
    /// How to deliver.
    pub policy: Arc<Policy>,
    /// Where the rows came from, by first row; never empty.
    pub sources: Vec<Source>,
    plain: Vec<u8>,
    rows: Vec<(u32, u32)>,
}

thread_local! {
    static COMPRESSOR: RefCell<Option<zstd::bulk::Compressor<'static>>> =
        RefCell::new(zstd::bulk::Compressor::new(LEVEL).ok());
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
        RefCell::new(zstd::bulk::Decompressor::new().ok());
}

/// Compresses with zstd; `None` when it could not be done.
pub(crate) fn compress(plain: &[u8]) -> Option<Vec<u8>> {
    COMPRESSOR.with_borrow_mut(|zstd| zstd.as_mut()?.compress(plain).ok())
}

/// Undoes [`compress`], given the exact length of what was compressed.
pub(crate) fn decompress(packed: &[u8], length: usize) -> Option<Vec<u8>> {
    if length > MAX_PLAIN {
        return None;
    }
    DECOMPRESSOR.with_borrow_mut(|zstd| zstd.as_mut()?.decompress(packed, length).ok())
}

impl Batch {
    /// Reads a stored batch (without the queue's time stamp before it).
    ///
    /// # Errors
    /// When the version is unknown or the bytes are not what [`encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Batch, BatchError> {
        let (prefix, content) =
            bytes.split_at_checked(PREFIX).ok_or(BatchError::Damaged("too short"))?;
        if !(1..=VERSION).contains(&prefix[0]) {
            return Err(BatchError::Version(prefix[0]));
        }
        let count = u16::from_be_bytes([prefix[1], prefix[2]]);
        let length = u32::from_be_bytes([prefix[3], prefix[4], prefix[5], prefix[6]]) as usize;
        let plain = match length {
            0 => content.to_vec(),
            n => decompress(content, n).ok_or(BatchError::Damaged("zstd content"))?,
        };
        let (shared, rest) = Shared::read(&plain)?;
        let (sources, mut rest) = read_sources(prefix[0], rest)?;
        let mut rows = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let (row, after) = postcard::take_from_bytes::<&[u8]>(rest)
                .map_err(|_| BatchError::Damaged("rows"))?;
            let end = plain.len() - after.len();
            rows.push(((end - row.len()) as u32, end as u32));
            rest = after;
        }
        if !rest.is_empty() || sources.is_empty() || rows.is_empty() || rows.len() > MAX_ROWS {
            return Err(BatchError::Damaged("row count"));
        }
        let Shared { endpoint, policy } = shared;
        Ok(Batch { endpoint, policy, sources, plain, rows })
    }

    /// How many rows it holds, at least 1.
    #[expect(clippy::len_without_is_empty, reason = "a batch is never empty")]
    pub fn len(&self) -> u16 {
        self.rows.len() as u16
    }

    /// How many bytes it takes in memory, about.
    pub fn size(&self) -> usize {
        self.plain.len()
    }

    /// The values of a row, from 0.
    ///
    /// # Errors
    /// When there is no such row or its bytes are damaged.
    pub fn row(&self, row: u16) -> Result<Row<'_>, BatchError> {
        let (start, end) =
            *self.rows.get(usize::from(row)).ok_or(BatchError::Damaged("no such row"))?;
        read_row(&self.plain[start as usize..end as usize]).ok_or(BatchError::Damaged("row"))
    }

    /// The request that a row came with.
    pub fn source(&self, row: u16) -> &Source {
        let after = self.sources.partition_point(|source| source.first_row <= row);
        &self.sources[after.saturating_sub(1)]
    }
}
