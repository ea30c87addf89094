//! The header `Idempotency-Key`: a request that is repeated with it is stored once, and gets the first answer again.
//! How keys are kept is `postback_core::queue`'s.

use std::{collections::BTreeMap, time::Duration};

use actix_web::{HttpRequest, http::StatusCode};
use postback_core::queue::Once;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const HEADER: &str = "idempotency-key";
/// The longest key, in bytes.
const MAX_KEY: usize = 255;

/// A request's key and whose it is.
#[derive(Debug, Clone)]
pub(crate) struct Key {
    text: Vec<u8>,
    caller: Vec<u8>,
    ttl: Duration,
}

/// What of an answer is kept, beside the batches.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Note {
    pub(crate) request_id: String,
    pub(crate) unmatched: BTreeMap<String, u64>,
}

impl Key {
    /// The request's key, if it has one. `caller` is the token's digest, or empty.
    pub(crate) fn of(
        request: &HttpRequest,
        caller: &[u8],
        ttl: Duration,
    ) -> Result<Option<Key>, Problem> {
        let mut given = request.headers().get_all(HEADER);
        let Some(key) = given.next() else { return Ok(None) };
        let is_fit = |key: &[u8]| {
            (1..=MAX_KEY).contains(&key.len()) && key.iter().all(|b| (0x20..0x7f).contains(b))
        };
        if given.next().is_some() || !is_fit(key.as_bytes()) {
            let detail = format!("Idempotency-Key: send one, of 1 to {MAX_KEY} ASCII characters");
            return Err(Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail));
        }
        Ok(Some(Key { text: key.as_bytes().to_vec(), caller: caller.to_vec(), ttl }))
    }

    /// For the queue: the key with this body and what is to be told again.
    pub(crate) fn once(&self, body: &[u8], note: &Note) -> Result<Once, Problem> {
        let note = serde_json::to_vec(note)
            .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
        Ok(Once::new(&self.text, &self.caller, body, note, self.ttl))
    }
}
