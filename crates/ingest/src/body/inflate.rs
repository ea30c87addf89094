//! gzip (RFC 1952) and zstd (RFC 8878) bodies made plain, within a limit that is heeded while inflating.

use std::io::Read;

use flate2::bufread::GzDecoder;
use zstd::{bulk::Decompressor, zstd_safe};

use super::budget::SHORT_BODY;
use crate::problem::Problem;

/// The most members of a gzip body: each costs the set-up of an inflater (2 µs), whatever is in it. Tools that split what
/// they compress make one for 64 KiB or more.
const MAX_MEMBERS: usize = 1000;
/// What a byte of deflate becomes at most (<https://zlib.net/zlib_tech.html>).
const MAX_GROWTH: usize = 1032;
/// From this size on the C library always gets memory from the system, zeroed and not there before it is written, and gives it back at
/// once. Smaller pieces stay with the threads that had them, once some have been freed: 52 MB after 21 bombs.
const FROM_SYSTEM: usize = 33 * 1024 * 1024;
/// What zstd says when the output is longer than its buffer.
const NO_ROOM: &str = "Destination buffer is too small";

/// How a body is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Zstd,
}

/// Why a body is not inflated.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fault {
    TooLong,
    /// Of which coding, and what is wrong.
    Damaged(&'static str, String),
}

impl Coding {
    /// What a `Content-Encoding` header names; `None` where it is none of ours.
    pub(super) fn named(name: &str) -> Option<Coding> {
        let is = |coding: &str| name.eq_ignore_ascii_case(coding);
        match () {
            () if is("identity") => Some(Coding::Identity),
            // RFC 9110, 8.4.1.3.
            () if is("gzip") || is("x-gzip") => Some(Coding::Gzip),
            () if is("zstd") => Some(Coding::Zstd),
            () => None,
        }
    }

    /// The plain body, of at most `most` bytes.
    pub(super) fn inflate(self, coded: &[u8], most: usize) -> Result<Vec<u8>, Fault> {
        match self {
            Coding::Identity => Ok(coded.to_vec()),
            // No deflate stream becomes longer than that.
            Coding::Gzip => gunzip(coded, coded.len().saturating_mul(MAX_GROWTH).min(most)),
            // The first frame's word; what it does not say, or says wrongly, is found when inflating.
            Coding::Zstd => match zstd_safe::get_frame_content_size(coded) {
                Ok(Some(told)) if told > most as u64 => Err(Fault::TooLong),
                _ => unzstd(coded, most),
            },
        }
    }
}

/// Zeros to write over, of which not all need to be used.
fn buffer(room: usize) -> Vec<u8> {
    vec![0; if room <= SHORT_BODY { room } else { room.max(FROM_SYSTEM) }]
}

fn gunzip(coded: &[u8], room: usize) -> Result<Vec<u8>, Fault> {
    let damaged = |what: String| Fault::Damaged("gzip", what);
    let mut rest = coded;
    let (mut plain, mut length) = (buffer(room), 0);
    for _ in 0..MAX_MEMBERS {
        let mut member = GzDecoder::new(rest);
        // Reads to where a member ends and is checked, or to where there is no room.
        loop {
            let read = member.read(&mut plain[length..room]).map_err(|e| damaged(e.to_string()))?;
            length += read;
            if read == 0 {
                break;
            }
        }
        if length == room && member.read(&mut [0]).map_err(|e| damaged(e.to_string()))? > 0 {
            return Err(Fault::TooLong);
        }
        rest = member.into_inner();
        if rest.is_empty() {
            plain.truncate(length);
            return Ok(plain);
        }
    }
    Err(damaged(format!("more than {MAX_MEMBERS} members")))
}

/// In one shot into one buffer: no window is set up then, whatever size the frame asks for.
fn unzstd(coded: &[u8], room: usize) -> Result<Vec<u8>, Fault> {
    let damaged = |what: String| Fault::Damaged("zstd", what);
    if coded.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let mut plain = buffer(room);
    let mut inflater = Decompressor::new().map_err(|error| damaged(error.to_string()))?;
    let length = inflater.decompress_to_buffer(coded, &mut plain[..room]);
    plain.truncate(length.map_err(|error| match error.to_string() {
        text if text == NO_ROOM => Fault::TooLong,
        text => damaged(text.to_lowercase()),
    })?);
    Ok(plain)
}

/// The codings that a request may use, as an answer tells it (RFC 9110, 12.5.3 and 15.5.16).
pub(super) const ACCEPTED: &str = "gzip, zstd";

impl Fault {
    /// For a body of at most so many bytes.
    pub(super) fn problem(self, most: usize) -> Problem {
        match self {
            Fault::TooLong => super::too_large(most, "the inflated body"),
            Fault::Damaged(coding, what) => Problem::bad_request(format_args!(
                "the body cannot be inflated as {coding}: {what}"
            )),
        }
    }
}

#[cfg(test)]
mod tests;
