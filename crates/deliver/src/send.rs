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
use tokio::time::{Instant, timeout_at};

pub(crate) use self::head::Prepared;
pub(crate) use crate::connect::Connection;
use crate::connect::{Dialer, plain};

/// The most that is read of a response's body, in bytes.
pub(crate) const MAX_BODY: usize = 64 * 1024;

/// Sends one request over `slot`'s connection, or over a new one, and leaves the connection there if it
/// can be used again. `limit` is from the first byte out to the last byte of the body in.
///
/// The request is written at most once: a second connection is tried only where the first turned out to
/// be closed before anything was written to it. Whatever happens is in the outcome; one that failed
/// before a byte went out took no time.
pub(crate) async fn send(
    slot: &mut Option<Connection>,
    dialer: &Dialer,
    postback: Prepared<'_>,
    limit: Duration,
) -> Outcome {
    let unsent = |failure| Outcome { result: Err(failure), response_time: Duration::ZERO };
    let (origin, now) = (postback.origin, postback.timestamp);
    let mut request = match postback.into_request() {
        Ok(request) => request,
        Err(failure) => return unsent(failure),
    };
    let mut retried = false;
    loop {
        let mut connection = match open(slot.take(), dialer, origin).await {
            Ok(connection) => connection,
            Err(failure) => return unsent(failure),
        };
        let start = Instant::now();
        let deadline = start + limit;
        let answer = connection.sender.try_send_request(request);
        let result = match timeout_at(deadline, connection.drive(answer)).await {
            Ok(Ok(answer)) => {
                let response = read(&mut connection, answer, deadline, now).await;
                let complete = response.body_failed.is_none() && !response.truncated;
                if complete && connection.is_ready().await {
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
            Err(_) => Err(Failure::Timeout(format!("no answer within {limit:?}"))),
        };
        return Outcome { result, response_time: start.elapsed() };
    }
}

/// The connection if it still holds, or a new one.
async fn open(
    kept: Option<Connection>,
    dialer: &Dialer,
    origin: &Origin,
) -> Result<Connection, Failure> {
    if let Some(mut connection) = kept
        && connection.is_ready().await
    {
        return Ok(connection);
    }
    dialer.connect(origin).await
}

/// Reads the body up to [`MAX_BODY`], the deadline or its failure: the status stands in any case.
async fn read(
    connection: &mut Connection,
    answer: hyper::Response<Incoming>,
    deadline: Instant,
    now: u64,
) -> Response {
    let mut response = Response {
        status: answer.status().as_u16(),
        retry_after: retry_after::parse(answer.headers(), now),
        body: Vec::new(),
        truncated: false,
        body_failed: None,
    };
    let reading = read_body(connection, answer.into_body(), &mut response);
    if timeout_at(deadline, reading).await.is_err() {
        let text = format!("the body stalled after {} bytes", response.body.len());
        response.body_failed = Some(Failure::Timeout(text));
    }
    response
}

async fn read_body(connection: &mut Connection, mut body: Incoming, response: &mut Response) {
    while let Some(frame) = connection.drive(body.frame()).await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(data)) => {
                let room = MAX_BODY - response.body.len();
                response.body.extend_from_slice(&data[..data.len().min(room)]);
                if data.len() > room {
                    response.truncated = true;
                    return;
                }
            }
            Ok(Err(_trailers)) => {}
            Err(error) => {
                response.body_failed = Some(failure(&error));
                return;
            }
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
