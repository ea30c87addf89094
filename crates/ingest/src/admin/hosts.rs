//! `/hosts`: the lanes, what waits in them, and their limits.

use std::collections::HashMap;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use postback_core::{
    endpoint::Origin,
    operate::{self, rate_text},
    queue::{LaneInfo, Queue, QueueError},
    view::time_text,
};
use serde::{Deserialize, Serialize};

use super::{
    done, page,
    text::{Text, field, link},
};
use crate::{problem::Problem, store::Store};

/// Lanes of a page.
const LANES: usize = 100;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Asked {
    q: String,
    busy: String,
    skip: usize,
}

#[derive(Template, Serialize)]
#[template(path = "hosts.html")]
struct Page {
    #[serde(skip)]
    q: Text,
    #[serde(skip)]
    busy: bool,
    /// Lanes that were asked for, on all pages.
    found: usize,
    /// Which of them these are, from 1.
    first: usize,
    last: usize,
    lanes: Vec<Lane>,
    #[serde(skip)]
    back_link: Option<String>,
    #[serde(skip)]
    next_link: Option<String>,
}

#[derive(Serialize)]
struct Lane {
    /// `https://host:port`, and the label.
    name: Text,
    lane: String,
    ready_batches: u64,
    /// Requests, as far as the workers' last beats told.
    in_flight: u64,
    /// Rows a second; 0: none is served; null: no limit.
    rate: Option<f64>,
    parked_since: Option<String>,
    parked_because: Option<Text>,
    /// When a parked or limited lane is served next.
    served_from: Option<String>,
    #[serde(skip)]
    origin: String,
    #[serde(skip)]
    label: String,
    #[serde(skip)]
    limit: String,
    #[serde(skip)]
    requests_link: String,
    #[serde(skip)]
    dead_link: String,
}

impl Lane {
    fn new(info: LaneInfo, in_flight: u64, now_ms: u64) -> Lane {
        let (origin, label) = info.name.split_once(' ').unwrap_or((&info.name, ""));
        let (origin, label) = (origin.to_owned(), label.to_owned());
        let host = origin.split_once("://").map_or(origin.as_str(), |(_, host)| host);
        let (since, why) = info.parked.unzip();
        Lane {
            requests_link: link("/requests", [("host", host)]),
            dead_link: link("/dead", [("host", host)]),
            name: info.name.clone().into(),
            lane: info.lane.to_string(),
            ready_batches: info.ready,
            in_flight,
            rate: info.rate,
            parked_since: since.map(time_text),
            parked_because: why.map(Text),
            served_from: info.from_ms.filter(|from| *from > now_ms).map(time_text),
            limit: rate_text(info.rate),
            origin,
            label,
        }
    }

    fn is_stopped(&self) -> bool {
        self.rate == Some(0.0)
    }
}

pub(super) async fn hosts(
    request: HttpRequest,
    query: web::Query<Asked>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    let Asked { q, busy, skip } = query.into_inner();
    let busy_only = !busy.is_empty();
    let (mut infos, in_flight, now_ms) = store.read(gather).await?;
    infos.retain(|info| {
        let works = info.ready > 0 || info.rate.is_some() || info.parked.is_some();
        let is_busy = works || in_flight.contains_key(info.lane.as_str());
        info.name.contains(&q) && (is_busy || !busy_only)
    });
    infos.sort_by(|a, b| b.ready.cmp(&a.ready).then_with(|| a.name.cmp(&b.name)));
    let found = infos.len();
    let lanes: Vec<_> = infos
        .into_iter()
        .skip(skip)
        .take(LANES)
        .map(|info| {
            let requests = in_flight.get(info.lane.as_str()).copied().unwrap_or_default();
            Lane::new(info, requests, now_ms)
        })
        .collect();
    let to = |skip: usize| {
        let skip = if skip == 0 { String::new() } else { skip.to_string() };
        link("/hosts", [("q", q.as_str()), ("busy", busy.as_str()), ("skip", skip.as_str())])
    };
    let last = skip.saturating_add(lanes.len());
    let shown = Page {
        back_link: (skip > 0).then(|| to(skip.saturating_sub(LANES))),
        next_link: (last < found).then(|| to(last)),
        busy: busy_only,
        found,
        first: if lanes.is_empty() { 0 } else { skip + 1 },
        last: if lanes.is_empty() { 0 } else { last },
        lanes,
        q: q.into(),
    };
    page(&request, &shown)
}

/// All lanes, requests in flight by lane as the workers told, and the fleet's time.
async fn gather(queue: &Queue) -> Result<(Vec<LaneInfo>, HashMap<String, u64>, u64), QueueError> {
    let (mut infos, mut in_flight) = (Vec::new(), HashMap::new());
    for shard in queue.shards() {
        infos.extend(shard.lane_infos().await?);
        for worker in shard.workers().await? {
            let told = worker.figures.get("lanes").map_or("", String::as_str);
            for (lane, requests) in told.split(' ').filter_map(|lane| lane.split_once(':')) {
                let requests = requests.parse::<u64>().unwrap_or_default();
                *in_flight.entry(lane.to_owned()).or_default() += requests;
            }
        }
    }
    Ok((infos, in_flight, queue.shards()[0].now_ms().await?))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Limit {
    host: String,
    lane: String,
    rate: String,
}

/// What `postbackctl limit` answers.
#[derive(Serialize)]
struct Limited {
    host: String,
    rate: Option<f64>,
    lanes: Vec<String>,
}

pub(super) async fn limit(
    request: HttpRequest,
    form: web::Form<Limit>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    let Limit { host, lane, rate } = form.into_inner();
    let missing = |what: &str| Problem::bad_request(format_args!("{what} is missing"));
    let origins = |text: &str| Origin::of_host(text).map_err(|error| error.to_string());
    let origins = field("host", &host, origins)?.ok_or_else(|| missing("host"))?;
    let rate = field("rate", &rate, operate::rate)?.ok_or_else(|| missing("rate"))?;
    let label = Some(lane.as_str()).filter(|label| !label.is_empty());
    let act = store.act(async |queue| operate::limit(queue, &origins, label, rate).await);
    let lanes = act.await?;
    let name = lanes.first().cloned().unwrap_or_default();
    let place = link("/hosts", [("q", if lanes.len() == 1 { name.as_str() } else { host.trim() })]);
    Ok(done(&request, &place, &Limited { host, rate, lanes }))
}
