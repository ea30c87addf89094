//! `/postbacks/{id}`: everything known of one postback, in order of time, and what can be done with it.
//!
//! The timeline is in `admin/postback/timeline.rs`, what was sent as a template in `admin/postback/again.rs`.

mod again;
mod timeline;

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use askama::Template;
use postback_core::{
    attempt::Cause,
    endpoint::Method,
    id::PostbackId,
    queue::{Placed, Queue, QueueError, Revised, Revision},
    view::{Attempt, Postback, Standing, time_text},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::timeline::Moment;
use super::{
    done, page,
    redact::Redact,
    shown,
    text::{Text, link},
};
use crate::{problem::Problem, store::Store};

#[derive(Template, Serialize)]
#[template(path = "postback.html")]
struct Shown {
    /// As JSON this is all.
    #[serde(flatten)]
    postback: Postback,
    /// What an action came to.
    #[serde(skip)]
    done: Option<&'static str>,
    #[serde(skip)]
    timeline: Vec<Moment>,
}

/// What a link back from an action tells.
#[derive(Deserialize)]
pub(super) struct After {
    done: Option<String>,
}

/// What an action came to, and what is said of it.
const DONE: [(&str, &str); 4] = [
    ("replayed", "Replayed: it is sent again as if never tried."),
    ("cancelled", "Cancelled: it is dead, cause cancelled, and can be replayed."),
    (
        "held",
        "Nothing was changed: a worker holds it right now and may be sending it. Try again in a few seconds.",
    ),
    (
        "nothing",
        "Nothing was changed: it has ended or was changed meanwhile; below is how it stands now.",
    ),
];

pub(super) async fn postback(
    request: HttpRequest,
    path: web::Path<String>,
    after: web::Query<After>,
    store: web::Data<Store>,
    redact: web::Data<Redact>,
) -> Result<HttpResponse, Problem> {
    let id = parse(&path)?;
    let found = store.read(async |queue| queue.postback(id).await).await?;
    let Some(postback) = found else {
        let begins = store.read(async |queue| queue.log_begins_ms().await).await?;
        return Err(missing(id, begins));
    };
    let postback = shown::redacted(&redact, postback);
    let word = after.done.as_deref();
    let done = DONE.iter().find(|(key, _)| Some(*key) == word).map(|(_, text)| *text);
    let timeline = timeline::of(&postback);
    page(&request, &Shown { postback, done, timeline })
}

fn parse(text: &str) -> Result<PostbackId, Problem> {
    text.parse().map_err(|error| Problem::new(StatusCode::NOT_FOUND, "not_found", error))
}

fn missing(id: PostbackId, log_begins_ms: Option<u64>) -> Problem {
    let why = match log_begins_ms {
        Some(ms) => format!(
            "there never was one, or it was over before {}, when the delivery log begins",
            time_text(ms)
        ),
        None => "there never was one, or it was over before what the delivery log, which is empty, tells of".into(),
    };
    Problem::new(StatusCode::NOT_FOUND, "not_found", format_args!("no postback {id}: {why}"))
}

/// `POST /postbacks/{id}/replay`.
pub(super) async fn replay(
    request: HttpRequest,
    path: web::Path<String>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    act(&request, &path, &store, Revision::Replay).await
}

/// `POST /postbacks/{id}/cancel`.
pub(super) async fn cancel(
    request: HttpRequest,
    path: web::Path<String>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    act(&request, &path, &store, Revision::Cancel).await
}

async fn act(
    request: &HttpRequest,
    path: &str,
    store: &Store,
    revision: Revision,
) -> Result<HttpResponse, Problem> {
    let id = parse(path)?;
    let revised = store.act(async |queue| revise(queue, id, revision).await).await?;
    let word = match (revised, revision) {
        (Revised::Done(0), _) => "nothing",
        (Revised::Done(_), Revision::Replay) => "replayed",
        (Revised::Done(_), _) => "cancelled",
        (Revised::Busy, _) => "held",
        (Revised::Gone, _) => "nothing",
    };
    let document = json!({ "id": id, "done": word });
    Ok(done(request, &format!("/postbacks/{id}?done={word}"), &document))
}

/// Revises this row and no other.
async fn revise(queue: &Queue, id: PostbackId, revision: Revision) -> Result<Revised, QueueError> {
    let batch = Placed { id: id.batch, depth: 0, from_tail: false };
    let shard = queue.shard_of(id.batch.lane());
    let revised = shard.revise(&[batch], revision, |_| vec![id.row]).await?;
    Ok(revised.into_iter().next().unwrap_or(Revised::Gone))
}

impl Shown {
    fn url(&self) -> Text {
        Text(self.postback.url.clone())
    }

    fn reference(&self) -> Option<Text> {
        self.postback.reference.clone().map(Text)
    }

    fn request_id(&self) -> Text {
        Text(self.postback.request_id.clone())
    }

    fn host(&self) -> Text {
        Text(self.postback.host.clone())
    }

    fn traceparent(&self) -> Option<Text> {
        self.postback.traceparent.clone().map(Text)
    }

    fn unmatched(&self) -> Vec<Text> {
        self.postback.unmatched.iter().cloned().map(Text).collect()
    }

    fn method(&self) -> &'static str {
        self.postback.method.map_or("", Method::as_str)
    }

    fn cause(&self) -> &'static str {
        self.postback.cause.map_or("", Cause::name)
    }

    fn is_dead(&self) -> bool {
        self.postback.state == Standing::Dead
    }

    fn is_pending(&self) -> bool {
        self.postback.state == Standing::Pending
    }

    fn is_delivered(&self) -> bool {
        self.postback.state == Standing::Delivered
    }

    /// Where the postbacks of the same request are.
    fn siblings(&self) -> String {
        link("/requests", [("q", &*self.postback.request_id)])
    }

    /// Where others to the same host are.
    fn others(&self) -> String {
        link("/requests", [("host", &*self.postback.host)])
    }

    /// The form that makes a new postback, filled with this one.
    fn again(&self) -> String {
        let Postback { url, attempts, .. } = &self.postback;
        let mut fields = vec![("method", self.method()), ("url", url)];
        let headers = attempts.last().map(|last| again::text(&headers(last))).unwrap_or_default();
        if !headers.is_empty() {
            fields.push(("headers", headers.trim_end()));
        }
        let body = attempts.last().and_then(body).map(again::body).unwrap_or_default();
        fields.push(("body", &body));
        link("/try", fields)
    }

    /// Whether that form lacks some of what was sent.
    fn is_again_partial(&self) -> bool {
        self.postback.attempts.last().is_none_or(|last| last.request_truncated)
    }

    /// Whether clocks that differ show.
    fn is_some_before(&self) -> bool {
        self.timeline.iter().any(|moment| moment.is_before)
    }

    fn attempts(&self) -> impl Iterator<Item = Tried<'_>> {
        self.postback.attempts.iter().map(Tried)
    }
}

/// The headers as lines, as `/try` takes them.
fn headers(attempt: &Attempt) -> String {
    let lines = attempt.request_headers.iter().map(|(name, value)| format!("{name}: {value}\n"));
    lines.collect()
}

/// The body that was sent, if all of it is known.
fn body(attempt: &Attempt) -> Option<&str> {
    attempt.request_body.as_deref().filter(|_| !attempt.request_truncated)
}

/// An attempt for people.
struct Tried<'a>(&'a Attempt);

impl Tried<'_> {
    fn status(&self) -> String {
        self.0.status.map_or_else(|| "no complete answer".to_owned(), |status| status.to_string())
    }

    fn error(&self) -> Option<Text> {
        self.0.error.clone().map(Text)
    }

    fn response_time(&self) -> String {
        format!("{:.1} ms", self.0.response_time_ms)
    }

    fn traceparent(&self) -> Option<Text> {
        self.0.traceparent.clone().map(Text)
    }

    fn request_headers(&self) -> Text {
        Text(headers(self.0))
    }

    fn request_body(&self) -> Option<Text> {
        self.0.request_body.clone().map(Text)
    }

    fn response_body(&self) -> Option<Text> {
        self.0.response_body.clone().filter(|body| !body.is_empty()).map(Text)
    }

    fn has_empty_body(&self) -> bool {
        self.0.response_body.as_ref().is_some_and(String::is_empty) && !self.0.truncated
    }

    fn is_cut(&self) -> bool {
        self.0.truncated
    }
}
