//! One attempt: the request out, the answer in, and what became of it.
//!
//! What an outcome means is `postback_core::attempt`'s; the request is put together in [`head`].

mod head;
mod retry_after;

use std::{error::Error as _, io, time::Duration};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use postback_core::{
    attempt::{Failure, Outcome, Response},
    endpoint::Origin,
};
use tokio::time::Instant;

pub(crate) use self::head::{Prepared, host_header};
pub(crate) use crate::connect::Connection;
use crate::connect::{Dialer, Late, NoConnection, plain};

/// The most that is read of a response's body, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Why nothing was sent, which tells nothing of the partner.
#[derive(Debug)]
pub(crate) enum Unsent {
    /// This box has run out of something, for people.
    Shortage(String),
    /// It may not be sent any more.
    Fenced,
}

/// How long an attempt may take, and how much is kept of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// From the first byte out to the last byte of the body in.
    pub(crate) time: Duration,
    /// So many bytes of the body are kept, at most [`MAX_BODY`].
    pub(crate) kept: usize,
}

/// Sends one request over `slot`'s connection, or over a new one, and leaves the connection there if it
/// can be used again.
///
/// The request is written at most once: a second connection is tried only where the first turned out to
/// be closed before anything was written to it. Whatever happens is in the outcome; one that failed
/// before a byte went out took no time. Whether it `may` be written is asked at the last moment: connecting takes time,
/// in which the lease may end.
///
/// # Errors
/// When there could be no attempt.
pub(crate) async fn send(
    slot: &mut Option<Connection>,
    dialer: &Dialer,
    postback: Prepared<'_>,
    bounds: Bounds,
    may: impl Fn(Instant) -> bool,
) -> Result<Outcome, Unsent> {
    let unsent = |failure| Ok(Outcome { result: Err(failure), response_time: Duration::ZERO });
    let (origin, now) = (postback.origin, postback.timestamp);
    let mut request = match postback.into_request() {
        Ok(request) => request,
        Err(failure) => return unsent(failure),
    };
    let mut retried = false;
    loop {
        let mut connection = match open(slot.take(), dialer, origin).await {
            Ok(connection) => connection,
            Err(NoConnection::Failed(failure)) => return unsent(failure),
            Err(NoConnection::Shortage(why)) => return Err(Unsent::Shortage(why)),
        };
        // Answers that came together are all read before the next requests are written: 2 % less CPU.
        tokio::task::yield_now().await;
        let start = Instant::now();
        if !may(start) {
            connection.note_pause();
            *slot = Some(connection);
            return Err(Unsent::Fenced);
        }
        connection.begin(start + bounds.time);
        let answer = connection.sender.try_send_request(request);
        let result = match connection.drive(answer).await {
            Ok(Ok(answer)) => {
                let mut response = head(&answer, now);
                let body = answer.into_body();
                let whole = read(&mut connection, body, bounds.kept, &mut response).await;
                if whole && (connection.is_usable() || connection.is_ready().await) {
                    *slot = Some(connection);
                }
                Ok(response)
            }
            Ok(Err(mut error)) => match error.take_message() {
                Some(unwritten) if !retried => {
                    (request, retried) = (unwritten, true);
                    continue;
                }
                _ => Err(failure(&error.into_error())),
            },
            Err(Late) => Err(Failure::Timeout(format!("no answer within {:?}", bounds.time))),
        };
        return Ok(Outcome { result, response_time: start.elapsed() });
    }
}

/// The connection if it still holds, or a new one.
async fn open(
    kept: Option<Connection>,
    dialer: &Dialer,
    origin: &Origin,
) -> Result<Connection, NoConnection> {
    if let Some(mut connection) = kept
        && connection.is_open().await
    {
        return Ok(connection);
    }
    dialer.connect(origin).await
}

fn head(answer: &hyper::Response<Incoming>, now: u64) -> Response {
    Response {
        status: answer.status().as_u16(),
        retry_after: retry_after::parse(answer.headers(), now),
        body: Vec::new(),
        truncated: false,
        body_failed: None,
    }
}

/// Reads the body up to [`MAX_BODY`], the deadline or its failure: the status stands in any case. Returns whether all
/// of it was read.
async fn read(
    connection: &mut Connection,
    mut body: Incoming,
    kept: usize,
    response: &mut Response,
) -> bool {
    let mut left = MAX_BODY;
    loop {
        let frame = match connection.drive(body.frame()).await {
            Ok(None) => return true,
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(error))) => {
                response.body_failed = Some(failure(&error));
                return false;
            }
            Err(Late) => {
                let text = format!("the body stalled after {} bytes", MAX_BODY - left);
                response.body_failed = Some(Failure::Timeout(text));
                return false;
            }
        };
        let Ok(data) = frame.into_data() else { continue }; // trailers
        let room = kept.min(MAX_BODY) - response.body.len();
        response.body.extend_from_slice(&data[..data.len().min(room)]);
        response.truncated |= data.len() > room;
        match left.checked_sub(data.len()) {
            Some(rest) => left = rest,
            None => return false,
        }
    }
}

/// What hyper's error is to a postback: broken HTTP, or a connection that broke.
fn failure(error: &hyper::Error) -> Failure {
    let cause = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match cause {
        _ if error.is_parse_too_large() => {
            Failure::Protocol("the response's head is over 64 KiB or 100 headers".to_owned())
        }
        _ if error.is_incomplete_message() || error.is_canceled() || error.is_closed() => {
            Failure::Reset("the connection was closed before the answer was complete".to_owned())
        }
        Some(io)
            if !matches!(io.kind(), io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput) =>
        {
            Failure::Reset(plain(io))
        }
        Some(io) => Failure::Protocol(plain(io)),
        None => Failure::Protocol(error.to_string().to_lowercase()),
    }
}

#[cfg(test)]
mod tests;
