//! `/requests`: what was tried, the latest first, with filters; what waits; and the search by id, request id and ref.
//!
//! What is asked for is read in `admin/requests/criteria.rs`.

mod criteria;

use std::time::Duration;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use postback_core::{
    attempt::Cause,
    endpoint::Method,
    id::PostbackId,
    queue::{Budget, Queue, QueueError, Scan},
    view::{Effort, Found, Listed, Postback, Standing, time_text},
};
use serde::Serialize;

use self::criteria::{Criteria, Query};
use super::{page, prefers_json, redact::Redact, see_other, shown};
use crate::{problem::Problem, store::Store};

/// The longest that a page looks for what its filters ask for; then it says how far back it came.
const LIST: Duration = Duration::from_millis(120);
/// The longest that a search takes in the log, and among the stored batches.
const SEARCH: Effort =
    Effort { log: Duration::from_millis(600), stored: Duration::from_millis(300), most: 500 };
/// The most characters of a URL and of a ref in a list.
const URL: usize = 160;
const REF: usize = 80;

#[derive(Template, Serialize)]
#[template(path = "requests.html")]
struct Requests {
    postbacks: Vec<Line>,
    /// The cursor of the next page, for `before`.
    next: Option<String>,
    /// How far back the log was searched, where that is not as far as it goes.
    searched_back_to: Option<String>,
    /// From when on the log knows everything.
    log_begins_at: Option<String>,
    /// What the reader should know of this page, for people.
    notes: Vec<String>,
    #[serde(skip)]
    query: Query,
}

/// A postback in the list.
#[derive(Serialize)]
struct Line {
    /// Its `attempts` are the latest one alone, unless it was searched for.
    #[serde(flatten)]
    postback: Postback,
    /// How many attempts were made.
    attempts_made: usize,
    /// When it last changed.
    at: String,
}

pub(super) async fn requests(
    request: HttpRequest,
    query: web::Query<Query>,
    store: web::Data<Store>,
    redact: web::Data<Redact>,
) -> Result<HttpResponse, Problem> {
    let query = query.into_inner();
    let now_ms = store.read(async |queue| queue.shards()[0].now_ms().await).await?;
    let criteria = Criteria::read(&query, now_ms)?;
    let mut answer = match &criteria.text {
        Some(text) => {
            let found = store.read(async |queue| queue.search(text, &SEARCH).await).await?;
            let is_id = text.parse::<PostbackId>().is_ok() && !found.postbacks.is_empty();
            if is_id && !prefers_json(&request) {
                return Ok(see_other(&format!("/postbacks/{text}")));
            }
            Requests::of_search(found, &criteria)
        }
        None => store.read(async |queue| listed(queue, &criteria).await).await?,
    };
    let begins = store.read(async |queue| queue.log_begins_ms().await).await?;
    answer.log_begins_at = begins.map(time_text);
    answer.note_missing(&criteria);
    answer.query = query;
    let hidden = |line: Line| Line { postback: shown::redacted(&redact, line.postback), ..line };
    answer.postbacks = answer.postbacks.into_iter().map(hidden).collect();
    page(&request, &answer)
}

async fn listed(queue: &Queue, criteria: &Criteria) -> Result<Requests, QueueError> {
    let Criteria { wanted, since_ms, until_ms, before, most, .. } = criteria;
    if wanted.state == Some(Standing::Pending) {
        let pending = queue.pending(wanted, *since_ms, *until_ms, *most).await?;
        let mut answer = Requests::new(pending.listed);
        if pending.is_more {
            let rows = answer.postbacks.len();
            answer.notes.push(format!(
                "these are {rows} of the rows that wait, the latest accepted first as far as a quick look goes: a host \
                 or a time shows others; postbackctl status counts them all"
            ));
        }
        return Ok(answer);
    }
    let scan = Scan {
        before: *before,
        since_ms: *since_ms,
        until_ms: *until_ms,
        most: *most,
        budget: Budget { time: LIST, ..Budget::NONE },
        ..Scan::default()
    };
    let recent = queue.recent(wanted, &scan).await?;
    let mut answer = Requests::new(recent.listed);
    answer.next = recent.next.map(|place| place.to_string());
    answer.searched_back_to = recent.back_to_ms.filter(|_| recent.is_cut_short).map(time_text);
    Ok(answer)
}

impl Requests {
    fn new(listed: Vec<Listed>) -> Requests {
        let line = |Listed { postback, attempts, at_ms }: Listed| Line {
            postback,
            attempts_made: attempts.into(),
            at: time_text(at_ms),
        };
        Requests {
            postbacks: listed.into_iter().map(line).collect(),
            next: None,
            searched_back_to: None,
            log_begins_at: None,
            notes: Vec::new(),
            query: Query::default(),
        }
    }

    fn of_search(found: Found, criteria: &Criteria) -> Requests {
        let Found { postbacks, is_more, log_back_to_ms, stored_looked_at } = found;
        let mut answer = Requests::new(Vec::new());
        let lines = postbacks.into_iter().map(|postback| {
            let last = postback.attempts.last();
            let settled = last.and_then(|last| last.settled_at.as_ref());
            let at = settled.unwrap_or(&postback.accepted_at).clone();
            Line { attempts_made: postback.attempts.len(), at, postback }
        });
        answer.postbacks =
            lines.filter(|line| criteria.accepts(&line.postback, &line.at)).collect();
        answer.searched_back_to = log_back_to_ms.map(time_text);
        if is_more {
            answer.notes.push(format!(
                "there are more than {}: these are the latest; postbackctl find shows all",
                SEARCH.most
            ));
        }
        if let Some(batches) = stored_looked_at {
            answer.notes.push(format!(
                "of what is stored in redis only {batches} batches were looked at: rows that wait may be missing here; \
                 postbackctl find looks at all"
            ));
        }
        answer
    }

    /// Says how far back was looked where that explains what is not there.
    fn note_missing(&mut self, criteria: &Criteria) {
        if let Some(back) = &self.searched_back_to {
            self.notes.push(format!("searched back to {back}: the log goes further back"));
        }
        if !self.postbacks.is_empty() || self.next.is_some() || self.searched_back_to.is_some() {
            return;
        }
        let of_log = criteria.wanted.state != Some(Standing::Pending);
        self.notes.push(match &self.log_begins_at {
            Some(begins) if of_log => {
                format!("nothing found; the log begins at {begins}: what was over before that is not in it")
            }
            None if of_log => "nothing found; the delivery log is empty".to_owned(),
            _ => "nothing found".to_owned(),
        });
    }

    /// The page behind this one.
    fn older(&self) -> Option<String> {
        self.next.as_ref().map(|next| self.query.link(Some(next)))
    }

    /// The first page, if this is another.
    fn newest(&self) -> Option<String> {
        self.query.before().map(|_| self.query.link(None))
    }

    fn states() -> [Standing; 3] {
        [Standing::Pending, Standing::Delivered, Standing::Dead]
    }

    fn methods() -> [Method; 6] {
        criteria::METHODS
    }

    fn causes() -> impl Iterator<Item = &'static str> {
        Cause::NAMES.into_iter().map(|(_, name)| name)
    }
}

impl Line {
    fn url(&self) -> String {
        shown::brief(&self.postback.url, URL)
    }

    fn reference(&self) -> String {
        self.postback.reference.as_deref().map_or_else(String::new, |text| shown::brief(text, REF))
    }

    fn method(&self) -> &'static str {
        self.postback.method.map_or("", Method::as_str)
    }

    fn cause(&self) -> &'static str {
        self.postback.cause.map_or("", Cause::name)
    }

    /// The last attempt's status, or what went wrong.
    fn last(&self) -> String {
        let Some(last) = self.postback.attempts.last() else { return String::new() };
        match (last.status, &last.error) {
            (Some(status), _) => status.to_string(),
            (None, Some(error)) => shown::brief(error, REF),
            (None, None) => "no answer".to_owned(),
        }
    }

    fn response_time(&self) -> String {
        let last = self.postback.attempts.last();
        last.map_or_else(String::new, |last| format!("{:.1} ms", last.response_time_ms))
    }
}
