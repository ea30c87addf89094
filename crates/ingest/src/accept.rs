//! One request's way: rows, batches, Redis, 202. Its body is read in `body`, parsing is `postback_core::request`'s.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use postback_core::{
    batch::{self, EncodedBatch, Source},
    id::{LaneId, lane_name},
    queue::{Enqueue, Enqueued, Once, Stored},
    request::{self, Limits, Request},
};
use serde::Serialize;

use crate::{
    body::Bodies,
    dry_run,
    idempotency::{Key, Note},
    problem::Problem,
    store::Store,
    tokens::Caller,
    trace::{RequestId, traceparent},
};

/// Tells that the answer is an earlier request's, as Stripe's does.
const REPLAYED: header::HeaderName = header::HeaderName::from_static("idempotent-replayed");

/// What of the options a request needs.
#[derive(Debug, Clone)]
pub(crate) struct Bounds {
    pub(crate) bodies: Bodies,
    pub(crate) max_backlog: u64,
    pub(crate) idempotency_ttl: Duration,
    pub(crate) limits: Limits,
}

/// A request ready to be stored.
struct Prepared {
    lane: LaneId,
    name: String,
    delay: Duration,
    batches: Vec<EncodedBatch>,
    note: Note,
    once: Option<Once>,
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

/// Answers a request.
pub(crate) async fn accept(
    request: HttpRequest,
    payload: web::Payload,
    id: web::ReqData<RequestId>,
    caller: web::ReqData<Caller>,
    store: web::Data<Store>,
    bounds: web::Data<Bounds>,
) -> Result<HttpResponse, Problem> {
    let received = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let is_dry_run = is_dry_run(&request)?;
    let id = id.into_inner().0;
    let key = Key::of(&request, caller.key_space(), bounds.idempotency_ttl)?;
    let body = bounds.bodies.read(&request, payload).await?;
    if is_dry_run {
        let limits = bounds.limits.clone();
        let most = bounds.bodies.most();
        let show = move |body: &[u8]| dry_run::preview(body, &limits, &id, most);
        let (rows, held) = bounds.bodies.open(body, show).await?;
        return dry_run::respond(rows, held);
    }
    let source = Source {
        request_id: id,
        traceparent: traceparent(request.headers()),
        received_at_ms: received.as_millis() as u64,
        first_row: 0,
    };
    let limits = bounds.limits.clone();
    let work = move |body: &[u8]| prepare(body, &limits, &source, key.as_ref());
    let (prepared, _held) = bounds.bodies.open(body, work).await?;
    let request = Enqueue {
        lane: prepared.lane,
        name: &prepared.name,
        delay: prepared.delay,
        batches: &prepared.batches,
        max_backlog: bounds.max_backlog,
    };
    match store.enqueue(request, prepared.once.as_ref()).await? {
        Stored::Now(batches) => Ok(accepted(&batches, prepared.note)),
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

fn prepare(
    body: &[u8],
    limits: &Limits,
    source: &Source,
    key: Option<&Key>,
) -> Result<Prepared, Problem> {
    let Request { endpoint, policy, delay, rows, unmatched } = request::parse(body, limits)?;
    let label = policy.label.as_deref();
    let note = Note { request_id: source.request_id.clone(), unmatched };
    Ok(Prepared {
        lane: LaneId::of(endpoint.origin(), label),
        name: lane_name(endpoint.origin(), label),
        delay,
        batches: batch::encode(endpoint.template(), &policy, source, &rows),
        once: key.map(|key| key.once(body, &note)).transpose()?,
        note,
    })
}
