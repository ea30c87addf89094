//! Endpoints and policies that many batches have in common: read and compiled once.
//!
//! A batch of one row would cost more for its endpoint than for its row. An endpoint and its policy are known again by
//! their stored bytes, which tell where they end: what begins with the bytes of one begins with that one.

use std::{cell::RefCell, sync::Arc};

use super::BatchError;
use crate::{
    endpoint::{Endpoint, EndpointTemplate},
    policy::Policy,
};

/// So many are kept, those used last.
const MOST: usize = 64;
/// One of more bytes is not kept.
const MAX_STORED: usize = 8 * 1024;

thread_local! {
    static KEPT: RefCell<Vec<(Box<[u8]>, Shared)>> = const { RefCell::new(Vec::new()) };
}

/// What to call and how to deliver.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) policy: Arc<Policy>,
}

impl Shared {
    /// What begins here, and what follows it.
    pub(super) fn read(plain: &[u8]) -> Result<(Shared, &[u8]), BatchError> {
        let known = KEPT.with_borrow_mut(|kept| {
            let at = kept.iter().position(|(stored, _)| plain.starts_with(stored))?;
            kept[..=at].rotate_right(1);
            Some((kept[0].1.clone(), &plain[kept[0].0.len()..]))
        });
        if let Some(known) = known {
            return Ok(known);
        }
        let ((template, policy), rest) =
            postcard::take_from_bytes::<(EndpointTemplate, Policy)>(plain)
                .map_err(|_| BatchError::Damaged("head"))?;
        let endpoint = Arc::new(Endpoint::compile(template)?);
        let shared = Shared { endpoint, policy: Arc::new(policy) };
        let stored = &plain[..plain.len() - rest.len()];
        if stored.len() <= MAX_STORED {
            KEPT.with_borrow_mut(|kept| {
                kept.truncate(MOST - 1);
                kept.insert(0, (stored.into(), shared.clone()));
            });
        }
        Ok((shared, rest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::{Limits, parse};

    /// The stored bytes of an endpoint with this URL, with an `x` behind them.
    fn stored(url: &str) -> Vec<u8> {
        let body = format!(r#"{{"endpoint":{{"method":"GET","url":"{url}"}},"data":[{{}}]}}"#);
        let limits = Limits { max_rows: 1, unmatched: String::new() };
        let envelope = parse(body.as_bytes(), &limits).unwrap().envelope;
        let mut bytes =
            postcard::to_allocvec(&(envelope.endpoint.template(), &envelope.policy)).unwrap();
        bytes.push(b'x');
        bytes
    }

    #[test]
    fn one_of_the_last_used_is_compiled_once() {
        let read = |url: &str| {
            let bytes = stored(url);
            let (shared, rest) = Shared::read(&bytes).unwrap();
            assert_eq!((&*shared.endpoint.template().url, rest), (url, &b"x"[..]));
            shared
        };
        let first = read("http://a.example/");
        // One whose URL begins with the other's is another one.
        read("http://a.example/?more");
        assert!(Arc::ptr_eq(&first.endpoint, &read("http://a.example/").endpoint));
        for n in 0..MOST {
            read(&format!("http://{n}.example/"));
        }
        assert!(!Arc::ptr_eq(&first.endpoint, &read("http://a.example/").endpoint));
        assert_eq!(KEPT.with_borrow(Vec::len), MOST);
    }

    #[test]
    fn what_is_damaged_is_not_kept() {
        let whole = stored("http://damaged.example/");
        for end in 0..whole.len() - 1 {
            assert!(Shared::read(&whole[..end]).is_err(), "{end} bytes");
        }
    }
}
