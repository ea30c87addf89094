//! `?dry_run=1`: the rows of a request as they would be sent.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    mem,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    HttpResponse,
    body::{BodySize, MessageBody},
    http::{StatusCode, header},
    web::Bytes,
};
use postback_core::request::{self, Limits, Request};
use serde::Serialize;

use crate::{
    body::{Held, too_large},
    problem::Problem,
};

#[derive(Serialize)]
struct Sent<'a> {
    method: &'static str,
    url: String,
    headers: BTreeMap<&'a str, String>,
    body: Option<String>,
    unmatched: Vec<&'a str>,
}

/// An answer, and its part of the memory for bodies until it is written.
struct Preview {
    rows: Bytes,
    _held: Held,
}

/// The answer's JSON. A short request may fill rows of hundreds of megabytes: at most `most` bytes are shown.
pub(crate) fn preview(
    body: &[u8],
    limits: &Limits,
    id: &str,
    most: usize,
) -> Result<Vec<u8>, Problem> {
    let Request { envelope, rows, .. } = request::parse(body, limits)?;
    let endpoint = &envelope.endpoint;
    let mut text = format!(r#"{{"request_id":"{id}","rows":["#).into_bytes();
    for (number, row) in rows.iter().enumerate() {
        let filled = endpoint.fill(row).map_err(Problem::bad_request)?;
        let sent = Sent {
            method: endpoint.template().method.as_str(),
            url: endpoint.origin().url(&filled.target),
            headers: filled.headers.into_iter().collect(),
            body: filled.body,
            unmatched: filled.unmatched,
        };
        if number > 0 {
            text.push(b',');
        }
        serde_json::to_writer(&mut text, &sent)
            .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
        if text.len() > most {
            return Err(too_large(most, "what this request would send"));
        }
    }
    text.extend_from_slice(b"]}");
    Ok(text)
}

/// The answer, which takes its part of the memory until it is written.
pub(crate) fn respond(rows: Vec<u8>, mut held: Held) -> Result<HttpResponse, Problem> {
    held.resize(rows.len())?;
    let preview = Preview { rows: rows.into(), _held: held };
    Ok(HttpResponse::Ok().content_type(header::ContentType::json()).body(preview))
}

impl MessageBody for Preview {
    type Error = Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.rows.len() as u64)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Infallible>>> {
        let rows = mem::take(&mut self.get_mut().rows);
        Poll::Ready((!rows.is_empty()).then_some(Ok(rows)))
    }
}
