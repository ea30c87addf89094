//! One request's way: body, rows, batches, Redis, 202. Parsing is `postback_core::request`'s.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web::{self, Bytes},
};
use postback_core::{
    batch::{EncodedBatch, EncodedRows, Source},
    id::{LaneId, lane_name},
    queue::{Enqueue, Enqueued, Once, Stored},
    request::{self, Limits, Request},
};
use serde::Serialize;

use crate::{
    coalesce::{self, Coalescer, Way},
    idempotency::{Key, Note},
    problem::Problem,
    store::Store,
    tokens::Caller,
    trace::{RequestId, traceparent},
};

/// How long a client may take to send a body. nginx hands it on whole, so this is for clients without it.
const BODY_TIME: Duration = Duration::from_secs(30);
/// A body of this size is parsed in about 1 ms. Longer ones go to another thread, so that others need not wait.
const LONG_BODY: usize = 256 * 1024;

/// Tells that the answer is an earlier request's, as Stripe's does.
const REPLAYED: header::HeaderName = header::HeaderName::from_static("idempotent-replayed");

/// What of the options a request needs.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) max_body: usize,
    pub(crate) max_backlog: u64,
    pub(crate) idempotency_ttl: Duration,
    pub(crate) limits: Limits,
}

/// A request ready to be stored.
struct Prepared {
    lane: LaneId,
    name: String,
    delay: Duration,
    rows: ToStore,
    note: Note,
    once: Option<Once>,
}

/// A request's rows, encoded.
enum ToStore {
    /// In batches of their own.
    Alone(Vec<EncodedBatch>),
    /// In a batch that other requests may share.
    Shared(Source, EncodedRows),
}

#[derive(Serialize)]
struct Accepted {
    request_id: String,
    accepted: usize,
    batches: Vec<Entry>,
    unmatched: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Entry {
    id: String,
    first: u32,
    rows: u16,
}

#[derive(Serialize)]
struct DryRun<'a> {
    request_id: &'a str,
    rows: Vec<Sent<'a>>,
}

#[derive(Serialize)]
struct Sent<'a> {
    method: &'static str,
    url: String,
    headers: BTreeMap<&'a str, String>,
    body: Option<String>,
    unmatched: Vec<&'a str>,
}

/// Answers a request.
pub(crate) async fn accept(
    request: HttpRequest,
    payload: web::Payload,
    id: web::ReqData<RequestId>,
    caller: web::ReqData<Caller>,
    store: web::Data<Store>,
    bounds: web::Data<Bounds>,
    coalescer: web::Data<Coalescer>,
) -> Result<HttpResponse, Problem> {
    let received = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    check_type(&request)?;
    let dry_run = is_dry_run(&request)?;
    let id = id.into_inner().0;
    let key = Key::of(&request, caller.key_space(), bounds.idempotency_ttl)?;
    let body = read(&request, payload, bounds.max_body).await?;
    if dry_run {
        let limits = bounds.limits.clone();
        let rows = off_thread(body, move |body| preview(body, &limits, &id)).await?;
        return Ok(HttpResponse::Ok().content_type(header::ContentType::json()).body(rows));
    }
    let source = Source {
        request_id: id,
        traceparent: traceparent(request.headers()),
        received_at_ms: received.as_millis() as u64,
        first_row: 0,
    };
    let limits = bounds.limits.clone();
    let may_share = coalescer.is_on() && key.is_none();
    let prepare = move |body: &[u8]| prepare(body, &limits, source, key.as_ref(), may_share);
    let Prepared { lane, name, delay, rows, note, once } = off_thread(body, prepare).await?;
    let (name, max_backlog) = (name.as_str(), bounds.max_backlog);
    let way = Way { lane, name, delay, max_backlog };
    let joined = match rows {
        ToStore::Alone(batches) => Err(batches),
        ToStore::Shared(source, rows) => coalescer.join(&store, way, source, rows),
    };
    let stored = match joined {
        Ok(told) => Stored::Now(told.await?),
        Err(batches) => {
            let batches = &batches[..];
            let request = Enqueue { lane, name, delay, batches, max_backlog };
            store.enqueue(request, once.as_ref()).await?
        }
    };
    match stored {
        Stored::Now(batches) => Ok(accepted(&batches, note)),
        Stored::Before(batches, note) => {
            let note = serde_json::from_slice(&note)
                .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
            let mut answer = accepted(&batches, note);
            answer.headers_mut().insert(REPLAYED, header::HeaderValue::from_static("true"));
            Ok(answer)
        }
    }
}

fn accepted(batches: &[Enqueued], Note { request_id, unmatched }: Note) -> HttpResponse {
    let entry =
        |batch: &Enqueued| Entry { id: batch.id.to_string(), first: batch.first, rows: batch.rows };
    HttpResponse::Accepted().json(Accepted {
        request_id,
        accepted: batches.iter().map(|batch| usize::from(batch.rows)).sum(),
        batches: batches.iter().map(entry).collect(),
        unmatched,
    })
}

/// Only JSON that is neither compressed nor in another character set.
fn check_type(request: &HttpRequest) -> Result<(), Problem> {
    let refuse = |detail| {
        Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail))
    };
    let header = |name| request.headers().get_all(name).map(|v| v.to_str().unwrap_or_default());
    let mut types = header(header::CONTENT_TYPE);
    if !types.next().is_some_and(is_json) || types.next().is_some() {
        return refuse("send the header `Content-Type: application/json`");
    }
    if !header(header::CONTENT_ENCODING).all(|coding| coding.eq_ignore_ascii_case("identity")) {
        return refuse("send the body without a Content-Encoding");
    }
    Ok(())
}

fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let json = parts.next().is_some_and(|t| t.eq_ignore_ascii_case("application/json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    })
}

/// `?dry_run=1`. Other values than 0 and 1 are refused: who writes `dry_run=yes` does not mean to send.
fn is_dry_run(request: &HttpRequest) -> Result<bool, Problem> {
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string())
        .map_err(|error| Problem::bad_request(format_args!("query: {error}")))?;
    match query.iter().find(|(name, _)| name == "dry_run").map(|(_, value)| value.as_str()) {
        None | Some("0") => Ok(false),
        Some("1") => Ok(true),
        Some(_) => Err(Problem::bad_request("query: dry_run must be 0 or 1")),
    }
}

async fn read(request: &HttpRequest, payload: web::Payload, most: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        let detail = format!("the body is longer than {most} bytes: send the rows in parts");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    };
    let length = request.headers().get(header::CONTENT_LENGTH).and_then(|n| n.to_str().ok());
    if length.and_then(|n| n.parse().ok()).is_some_and(|n: u64| n > most as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(BODY_TIME, payload.to_bytes_limited(most)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(error))) => Err(Problem::bad_request(format_args!("the body was cut: {error}"))),
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let detail = format!("the body took longer than {} s", BODY_TIME.as_secs());
            Err(Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", detail))
        }
    }
}

async fn off_thread<T: Send + 'static>(
    body: Bytes,
    work: impl FnOnce(&[u8]) -> Result<T, Problem> + Send + 'static,
) -> Result<T, Problem> {
    if body.len() <= LONG_BODY {
        return work(&body);
    }
    let done = web::block(move || work(&body)).await;
    done.unwrap_or_else(|_| Err(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR)))
}

fn prepare(
    body: &[u8],
    limits: &Limits,
    source: Source,
    key: Option<&Key>,
    may_share: bool,
) -> Result<Prepared, Problem> {
    let Request { endpoint, policy, delay, rows, unmatched } = request::parse(body, limits)?;
    let label = policy.label.as_deref();
    let note = Note { request_id: source.request_id.clone(), unmatched };
    let encoded = EncodedRows::new(endpoint.template(), &policy, &rows);
    Ok(Prepared {
        lane: LaneId::of(endpoint.origin(), label),
        name: lane_name(endpoint.origin(), label),
        delay,
        rows: match may_share && coalesce::is_small(&source, &encoded) {
            true => ToStore::Shared(source, encoded),
            false => ToStore::Alone(encoded.batches(&source)),
        },
        once: key.map(|key| key.once(body, &note)).transpose()?,
        note,
    })
}

/// The rows as they would be sent, in JSON.
fn preview(body: &[u8], limits: &Limits, id: &str) -> Result<Vec<u8>, Problem> {
    let Request { endpoint, rows, .. } = request::parse(body, limits)?;
    let sent = rows.iter().map(|row| {
        let filled = endpoint.fill(row).map_err(Problem::bad_request)?;
        Ok(Sent {
            method: endpoint.template().method.as_str(),
            url: endpoint.origin().url(&filled.target),
            headers: filled.headers.into_iter().collect(),
            body: filled.body,
            unmatched: filled.unmatched,
        })
    });
    let rows = sent.collect::<Result<_, Problem>>()?;
    serde_json::to_vec(&DryRun { request_id: id, rows })
        .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))
}
