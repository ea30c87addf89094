//! The names of lanes, batches and postbacks.
//!
//! A batch's id begins with its lane's, so that an id alone tells the lane and with it the shard. All are
//! base62, so that none starts with a dash on a command line or needs quoting in a URL.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::endpoint::Origin;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Characters of a lane's id, and of the unique part of a batch's: 62^11 is just above 2^64.
pub const PART: usize = 11;

/// What is wrong with a text that should be an id.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{0}` is not {1}")]
pub struct IdError(String, &'static str);

/// A lane: the first 64 bits of SHA-256 over scheme, host, port and label, in base62.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LaneId([u8; PART]);

/// A batch: its lane, then 64 random bits in base62.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId([u8; 2 * PART]);

/// A postback: a batch and a row (from 0) in it, written `<batch>-<row>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PostbackId {
    /// The batch that holds the row.
    pub batch: BatchId,
    /// The row, from 0.
    pub row: u16,
}

fn base62(mut n: u64) -> [u8; PART] {
    let mut out = [b'0'; PART];
    for place in out.iter_mut().rev() {
        *place = ALPHABET[(n % 62) as usize];
        n /= 62;
    }
    out
}

fn base62_text<const N: usize>(text: &str, what: &'static str) -> Result<[u8; N], IdError> {
    let refuse = || IdError(text.chars().take(80).collect(), what);
    let bytes: [u8; N] = text.as_bytes().try_into().map_err(|_| refuse())?;
    if bytes.iter().all(u8::is_ascii_alphanumeric) { Ok(bytes) } else { Err(refuse()) }
}

fn ascii(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

impl LaneId {
    /// The lane of an origin and the policy's label. The same in every process and version.
    pub fn of(origin: &Origin, label: Option<&str>) -> LaneId {
        let hash = Sha256::digest(lane_name(origin, label).as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&hash[..8]);
        LaneId(base62(u64::from_be_bytes(first)))
    }

    /// The shard, of `shards`, that holds this lane.
    pub fn shard(&self, shards: u16) -> u16 {
        let n =
            self.0.iter().fold(0u64, |n, byte| n.wrapping_mul(131).wrapping_add(u64::from(*byte)));
        u16::try_from(n % u64::from(shards.max(1))).unwrap_or_default()
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }
}

/// A lane's name for people: `https://host:port`, and the label after a blank if there is one.
pub fn lane_name(origin: &Origin, label: Option<&str>) -> String {
    let scheme = if origin.tls { "https" } else { "http" };
    let base = format!("{scheme}://{}:{}", origin.host, origin.port);
    label.map_or(base.clone(), |label| format!("{base} {label}"))
}

impl BatchId {
    /// A new id in `lane`; `random` makes it unique.
    pub fn new(lane: LaneId, random: u64) -> BatchId {
        let mut id = [0; 2 * PART];
        id[..PART].copy_from_slice(&lane.0);
        id[PART..].copy_from_slice(&base62(random));
        BatchId(id)
    }

    /// The lane the batch is in.
    pub fn lane(&self) -> LaneId {
        let mut lane = [0; PART];
        lane.copy_from_slice(&self.0[..PART]);
        LaneId(lane)
    }

    /// The id's text.
    pub fn as_str(&self) -> &str {
        ascii(&self.0)
    }

    /// The postback of a row of this batch.
    pub fn postback(self, row: u16) -> PostbackId {
        PostbackId { batch: self, row }
    }
}

impl PostbackId {
    /// The id's text.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(2 * PART + "-65535".len());
        text.push_str(self.batch.as_str());
        text.push('-');
        let digits = self.row.checked_ilog10().unwrap_or_default();
        for power in (0..=digits).rev() {
            text.push(char::from(b'0' + (self.row / 10u16.pow(power) % 10) as u8));
        }
        text
    }
}

impl fmt::Display for PostbackId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl FromStr for PostbackId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let refuse = || {
            IdError(text.chars().take(80).collect(), "a postback id, which reads `<batch>-<row>`")
        };
        let (batch, row) = text.rsplit_once('-').ok_or_else(refuse)?;
        let digits = row.bytes().all(|b| b.is_ascii_digit());
        let row = row.parse().ok().filter(|_| digits).ok_or_else(refuse)?;
        Ok(PostbackId { batch: batch.parse()?, row })
    }
}

macro_rules! text_id {
    ($id:ident, $what:literal) => {
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl fmt::Debug for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl FromStr for $id {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                base62_text(text, $what).map($id)
            }
        }
        impl Serialize for $id {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(self.as_str())
            }
        }
        impl<'de> Deserialize<'de> for $id {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
text_id!(LaneId, "a lane id of 11 letters and digits");
text_id!(BatchId, "a batch id of 22 letters and digits");

impl Serialize for PostbackId {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(host: &str, port: u16) -> Origin {
        Origin { tls: false, host: host.into(), port }
    }

    #[test]
    fn a_lane_is_the_same_for_the_same_origin_and_label_only() {
        let lane = LaneId::of(&origin("a.com", 80), None);
        assert_eq!(lane, LaneId::of(&origin("a.com", 80), None));
        assert_ne!(lane, LaneId::of(&origin("a.com", 81), None));
        assert_ne!(lane, LaneId::of(&origin("a.com", 80), Some("bulk")));
        assert_ne!(lane, LaneId::of(&Origin { tls: true, ..origin("a.com", 80) }, None));
    }

    #[test]
    fn ids_come_back_from_their_text() {
        let batch = BatchId::new(LaneId::of(&origin("a.com", 80), None), u64::MAX);
        assert_eq!(batch.to_string().len(), 22);
        for row in [0, 7, 10, 99, 255, u16::MAX] {
            let postback = batch.postback(row);
            assert_eq!(postback.text(), format!("{batch}-{row}"));
            assert_eq!(postback.text().parse(), Ok(postback));
        }
        assert_eq!(batch.lane().to_string().parse(), Ok(batch.lane()));
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let batch = "0".repeat(22);
        for text in [
            "",
            "-",
            "a-1",
            &batch,
            &format!("{batch}-"),
            &format!("{batch}-+1"),
            &format!("{batch}-65536"),
            &format!("{}é-1", &batch[2..]),
        ] {
            assert!(text.parse::<PostbackId>().is_err(), "{text}");
        }
    }
}
