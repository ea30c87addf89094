//! One request's way: rows, batches, Redis, 202. Its body is read in `body`, parsing is `postback_core::request`'s.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::{
    HttpRequest, HttpResponse,
    http::{StatusCode, header},
    web,
};
use postback_core::{
    batch::{EncodedBatch, EncodedRows, Source},
    queue::{Enqueued, Once, Stored},
    request::{Envelope, Request, RequestReader},
};
use serde::Serialize;

use crate::{
    body::Bodies,
    coalesce::{self, Coalescer, Way},
    door::is_of_proxy,
    dry_run,
    idempotency::{Key, Note},
    problem::Problem,
    store::Store,
    tokens::Caller,
    trace::{RequestId, nginx_ms, traceparent},
};

/// Tells that the answer is an earlier request's, as Stripe's does.
const REPLAYED: header::HeaderName = header::HeaderName::from_static("idempotent-replayed");

/// What of the options a request needs.
#[derive(Debug)]
pub(crate) struct Bounds {
    pub(crate) bodies: Bodies,
    pub(crate) max_backlog: u64,
    pub(crate) idempotency_ttl: Duration,
    pub(crate) requests: RequestReader,
}

/// A request ready to be stored.
struct Prepared {
    envelope: Arc<Envelope>,
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
    let is_dry_run = is_dry_run(&request)?;
    let id = id.into_inner().0;
    let key = Key::of(&request, caller.key_space(), bounds.idempotency_ttl)?;
    let body = bounds.bodies.read(&request, payload).await?;
    if is_dry_run {
        let (own, most) = (bounds.clone(), bounds.bodies.most());
        let show = move |body: &[u8]| dry_run::preview(body, own.requests.limits(), &id, most);
        let (rows, held) = bounds.bodies.open(body, show).await?;
        return dry_run::respond(rows, held);
    }
    let source = Source {
        request_id: id,
        traceparent: traceparent(request.headers()),
        received_at_ms: received.as_millis() as u64,
        first_row: 0,
        nginx_ms: nginx_ms(request.headers(), received).filter(|_| is_of_proxy(&request)),
    };
    let own = bounds.clone();
    let may_share = coalescer.is_on() && key.is_none();
    let prepare = move |body: &[u8]| prepare(body, &own.requests, source, key.as_ref(), may_share);
    let (prepared, _held) = bounds.bodies.open(body, prepare).await?;
    let Prepared { envelope, rows, note, once } = prepared;
    let way = Way { envelope, max_backlog: bounds.max_backlog };
    let joined = match rows {
        ToStore::Alone(batches) => Err(batches),
        ToStore::Shared(source, rows) => coalescer.join(&store, &way, source, rows),
    };
    let stored = match joined {
        Ok(told) => Stored::Now(told.await?),
        Err(batches) => store.enqueue(way.with(&batches), once.as_ref()).await?,
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
    requests: &RequestReader,
    source: Source,
    key: Option<&Key>,
    may_share: bool,
) -> Result<Prepared, Problem> {
    let Request { envelope, rows, unmatched } = requests.encode(body)?;
    let note = Note { request_id: source.request_id.clone(), unmatched };
    Ok(Prepared {
        envelope,
        rows: match may_share && coalesce::is_small(&source, &rows) {
            true => ToStore::Shared(source, rows),
            false => ToStore::Alone(rows.batches(&source)),
        },
        once: key.map(|key| key.once(body, &note)).transpose()?,
        note,
    })
}

/// Stores a request of an operator's, as one of a client's is, in batches of its own.
pub(crate) async fn store_alone(
    text: String,
    request_id: String,
    store: &Store,
    bounds: &Bounds,
) -> Result<Vec<Enqueued>, Problem> {
    let received = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let source = Source {
        request_id,
        traceparent: None,
        received_at_ms: received.as_millis() as u64,
        first_row: 0,
        nginx_ms: None,
    };
    let prepared = prepare(text.as_bytes(), &bounds.requests, source, None, false)?;
    let Prepared { envelope, rows: ToStore::Alone(batches), .. } = prepared else {
        return Err(Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR));
    };
    let way = Way { envelope, max_backlog: bounds.max_backlog };
    match store.enqueue(way.with(&batches), None).await? {
        Stored::Now(batches) | Stored::Before(batches, _) => Ok(batches),
    }
}
