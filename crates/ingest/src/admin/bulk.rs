//! Replay and drop of many dead rows: counted first, confirmed, and done in the background.
//!
//! A long replay outlives any request, and at a rate it shall take its time; so one task of this process does it, one at a
//! time, and its progress is a page. Should the process end before it, nothing is lost: rows that were replayed are no
//! longer dead, and the same can be asked for again. What is confirmed is chosen anew, so that the count may differ.

mod run;
mod which;

use std::time::{Duration, Instant};

use actix_web::{HttpRequest, HttpResponse, http::StatusCode, web};
use askama::Template;
use postback_core::{
    operate::{counted, replay_rate, words},
    queue::Revision,
};
use serde::Serialize;

pub(crate) use self::run::Runs;
use self::{
    run::State,
    which::{Fields, Which},
};
use super::{
    done, page,
    text::{Text, field},
};
use crate::{problem::Problem, store::Store};

/// So long is counted; what is not found by then is told as `at least`.
const COUNTING: Duration = Duration::from_millis(1500);
/// What is done by then is told at once; the rest goes on in the background.
const AT_ONCE: Duration = Duration::from_millis(1000);

/// What would be done.
#[derive(Template, Serialize)]
#[template(path = "bulk.html")]
struct Count {
    /// `replay` or `drop`.
    action: &'static str,
    which: Text,
    rows: u64,
    batches: u64,
    /// Whether all was counted; otherwise there may be more.
    is_whole: bool,
    acted: bool,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    done: &'static str,
    #[serde(skip)]
    path: String,
    #[serde(skip)]
    fields: Fields,
    #[serde(skip)]
    rate: Text,
}

pub(super) async fn replay(
    request: HttpRequest,
    form: web::Form<Vec<(String, String)>>,
    store: web::Data<Store>,
    runs: web::Data<Runs>,
) -> Result<HttpResponse, Problem> {
    revise(&request, Revision::Replay, form.into_inner(), &store, runs).await
}

pub(super) async fn drop_rows(
    request: HttpRequest,
    form: web::Form<Vec<(String, String)>>,
    store: web::Data<Store>,
    runs: web::Data<Runs>,
) -> Result<HttpResponse, Problem> {
    revise(&request, Revision::Drop, form.into_inner(), &store, runs).await
}

/// Counts, or acts where that is confirmed.
async fn revise(
    request: &HttpRequest,
    revision: Revision,
    form: Vec<(String, String)>,
    store: &Store,
    runs: web::Data<Runs>,
) -> Result<HttpResponse, Problem> {
    let fields = Fields(form);
    let queue = store.act(async |queue| queue.reopen()).await?;
    let now_ms = store.read(async |queue| queue.shards()[0].now_ms().await).await?;
    let which = Which::of(&fields, now_ms)?;
    let rate = field("rate", fields.get("rate"), replay_rate)?;
    if fields.get("confirm") == "yes" {
        let run = runs.start(queue, which, revision, rate)?;
        drop(tokio::time::timeout(AT_ONCE, run).await);
        return Ok(done(request, "/dead/progress", &runs.latest()));
    }
    let until = Instant::now() + COUNTING;
    let counting =
        store.read(async |queue| which.select(queue, revision, |_| Instant::now() < until).await);
    let selection = counting.await?;
    let (kind, done) = words(revision);
    let shown = Count {
        action: name(revision),
        which: which.text().into(),
        rows: selection.rows,
        batches: selection.batches,
        is_whole: selection.is_whole,
        acted: false,
        text: format!(
            "{} in {}",
            counted(selection.rows, kind, "row"),
            counted(selection.batches, "", "batch")
        ),
        done,
        path: request.path().to_owned(),
        rate: fields.get("rate").to_owned().into(),
        fields: fields.resolved(now_ms),
    };
    page(request, &shown)
}

fn name(revision: Revision) -> &'static str {
    match revision {
        Revision::Replay => "replay",
        Revision::Drop => "drop",
        Revision::Cancel => "cancel",
    }
}

/// The latest run of this process.
#[derive(Template, Serialize)]
#[template(path = "progress.html")]
struct Progress {
    run: Option<run::Run>,
}

pub(super) async fn progress(
    request: HttpRequest,
    runs: web::Data<Runs>,
) -> Result<HttpResponse, Problem> {
    page(&request, &Progress { run: runs.latest() })
}

pub(super) async fn stop(
    request: HttpRequest,
    runs: web::Data<Runs>,
) -> Result<HttpResponse, Problem> {
    if !runs.stop() {
        let detail = "nothing is being replayed or dropped by this process";
        return Err(Problem::new(StatusCode::CONFLICT, "not_running", detail));
    }
    Ok(done(&request, "/dead/progress", &runs.latest()))
}
