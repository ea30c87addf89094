//! `/workers`: who sends, on which box, until when; pause and resume.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use postback_core::{
    operate,
    queue::{Queue, QueueError, WorkerInfo},
    view::time_text,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{done, page, text::Text};
use crate::{problem::Problem, store::Store};

/// So much of a reason is kept, in characters.
const REASON: usize = 500;

#[derive(Template, Serialize)]
#[template(path = "workers.html")]
struct Page {
    paused: Option<Text>,
    workers: Vec<Worker>,
    /// Batches taken over from workers whose leases had ended, since this Redis began.
    taken_over: u64,
    #[serde(skip)]
    several: bool,
}

#[derive(Serialize)]
struct Worker {
    worker: String,
    shard: usize,
    #[serde(rename = "box")]
    host: Text,
    pid: Text,
    version: Text,
    /// When its process began, by its box's clock.
    since: Text,
    lease_until: String,
    /// How long its lease lasts yet; negative: it has ended.
    lease_seconds: f64,
    held_batches: u64,
    in_flight: Text,
    queued: Text,
}

impl Worker {
    fn new(info: WorkerInfo, shard: usize, now_ms: u64) -> Worker {
        let figure = |figures: &mut HashMap<String, String>, name| {
            Text(figures.remove(name).unwrap_or_else(|| "–".to_owned()))
        };
        let mut figures = info.figures;
        Worker {
            worker: info.worker,
            shard,
            host: figure(&mut figures, "box"),
            pid: figure(&mut figures, "pid"),
            version: figure(&mut figures, "version"),
            since: figure(&mut figures, "since"),
            lease_until: time_text(info.lease_ms),
            lease_seconds: (info.lease_ms as f64 - now_ms as f64) / 1000.0,
            held_batches: info.held,
            in_flight: figure(&mut figures, "in_flight"),
            queued: figure(&mut figures, "queued"),
        }
    }

    fn lease_text(&self) -> String {
        format!("{:.0} s", self.lease_seconds)
    }
}

pub(super) async fn workers(
    request: HttpRequest,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    page(&request, &store.read(gather).await?)
}

async fn gather(queue: &Queue) -> Result<Page, QueueError> {
    let now_ms = queue.shards()[0].now_ms().await?;
    let (mut workers, mut taken_over, mut paused) = (Vec::new(), 0, None);
    for (n, shard) in queue.shards().iter().enumerate() {
        let found = shard.workers().await?.into_iter();
        workers.extend(found.map(|info| Worker::new(info, n, now_ms)));
        taken_over += shard.stats().await?.taken_over;
        paused = paused.or(shard.paused().await?);
    }
    let order = |worker: &Worker| (worker.host.0.clone(), worker.pid.0.clone(), worker.shard);
    workers.sort_by_cached_key(order);
    let several = queue.shards().len() > 1;
    Ok(Page { paused: paused.map(Text), workers, taken_over, several })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pause {
    reason: String,
}

pub(super) async fn pause(
    request: HttpRequest,
    form: web::Form<Pause>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    let reason: String = form.reason.trim().chars().take(REASON).collect();
    let who = request.peer_addr().map_or_else(
        || "somebody on the pages".to_owned(),
        |peer| format!("somebody at {} on the pages", peer.ip()),
    );
    let text = store.act(async |queue| operate::pause(queue, &who, &reason).await).await?;
    log::warn!("the fleet is paused {}", Text(text.clone()));
    Ok(done(&request, "/workers", &json!({ "paused": text })))
}

pub(super) async fn resume(
    request: HttpRequest,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    let was = store
        .act(async |queue| {
            let mut was = None;
            for shard in queue.shards() {
                was = was.or(shard.paused().await?);
                shard.resume().await?;
            }
            Ok(was)
        })
        .await?;
    log::info!("the fleet goes on");
    Ok(done(&request, "/workers", &json!({ "paused": null, "was": was })))
}
