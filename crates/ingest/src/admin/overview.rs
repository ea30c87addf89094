//! `/`: how much comes in and goes out, what waits, how fast it is, and how the boxes are. What is read is here, its
//! shape as JSON in `overview/figures.rs`, its charts in `overview/charts.rs`.

mod boxes;
mod charts;
mod figures;
mod numbers;
mod plot;

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use postback_core::{
    queue::{Minutes, Queue, QueueError, Span, Stats, Totals},
    view,
};
use serde::{Deserialize, Serialize};

use self::{
    boxes::BoxView,
    figures::{Counts, Memory, Sum},
    plot::Chart,
};
use crate::{problem::Problem, store::Store};

/// Boxes with charts; further ones are in the table alone.
const DRAWN_BOXES: usize = 8;

/// What may be asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    #[serde(default)]
    span: Span,
}

/// The page, and its JSON: names in it stay as they are, since other programs read them.
#[derive(Template, Serialize)]
#[template(path = "overview.html")]
struct Overview {
    /// Redis's time.
    at: String,
    span: Span,
    /// Over the last whole minute and the one under way.
    accepted_per_second: f64,
    delivered_per_second: f64,
    failed_per_second: f64,
    backlog_rows: u64,
    oldest_row_seconds: f64,
    dead_rows: u64,
    in_flight: u64,
    breakers_open: u64,
    paused: Option<String>,
    redis: Memory,
    /// Since this Redis began.
    totals: Counts,
    /// Of the span.
    minutes: Sum,
    boxes: Vec<BoxView>,
    #[serde(skip)]
    charts: Vec<Chart>,
}

/// What is read of Redis for it.
struct Read {
    minutes: Minutes,
    stats: Vec<Stats>,
    totals: Vec<Totals>,
    oldest_seconds: f64,
    in_flight: u64,
    breakers: u64,
    paused: Option<String>,
    memory: (u64, u64),
}

/// Answers with the overview.
pub(super) async fn overview(
    request: HttpRequest,
    query: web::Query<Query>,
    store: web::Data<Store>,
) -> Result<HttpResponse, Problem> {
    let span = query.span;
    let read = store.read(async |queue| Read::take(queue, span).await).await?;
    super::page(&request, &Overview::of(span, &read))
}

impl Read {
    async fn take(queue: &Queue, span: Span) -> Result<Read, QueueError> {
        let (mut stats, mut totals, mut oldest) = (Vec::new(), Vec::new(), 0.0_f64);
        for shard in queue.shards() {
            stats.push(shard.stats().await?);
            totals.push(shard.totals().await?);
            oldest = oldest.max(shard.oldest_age().await?.unwrap_or_default().as_secs_f64());
        }
        Ok(Read {
            minutes: queue.minutes(span).await?,
            stats,
            totals,
            oldest_seconds: oldest,
            in_flight: queue.in_flight().await?,
            breakers: queue.breakers().await?,
            paused: queue.shards()[0].paused().await?,
            memory: queue.shards()[0].memory_and_limit().await?,
        })
    }
}

impl Overview {
    fn of(span: Span, read: &Read) -> Overview {
        let minutes = &read.minutes;
        let sum = |figure: fn(&Stats) -> u64| read.stats.iter().map(figure).sum::<u64>();
        let recent = &minutes.recent;
        let rate = |n: u64| figures::rate(n, recent.time);
        Overview {
            at: view::time_text(minutes.now_ms),
            span,
            accepted_per_second: rate(recent.figures.accepted),
            delivered_per_second: rate(recent.figures.delivered),
            failed_per_second: rate(recent.figures.failed()),
            backlog_rows: sum(|stats| stats.pending),
            oldest_row_seconds: read.oldest_seconds,
            dead_rows: sum(|stats| stats.dead),
            in_flight: read.in_flight,
            breakers_open: read.breakers,
            paused: read.paused.clone(),
            redis: Memory {
                memory_bytes: read.memory.0,
                memory_limit_bytes: Some(read.memory.1).filter(|limit| *limit > 0),
                backlog_bytes: sum(|stats| stats.bytes),
                log_bytes: sum(|stats| stats.log_bytes),
            },
            totals: Counts::since_the_beginning(&read.stats, &read.totals),
            minutes: Sum::of(minutes),
            boxes: (minutes.boxes.iter().enumerate())
                .map(|(n, seen)| BoxView::of(seen, minutes, n < DRAWN_BOXES))
                .collect(),
            charts: charts::all(minutes),
        }
    }

    fn spans(&self) -> impl Iterator<Item = (&'static str, bool)> {
        Span::NAMES.into_iter().map(|(span, name)| (name, span == self.span))
    }

    fn span_name(&self) -> &'static str {
        match self.span {
            Span::Hour => "hour",
            Span::EightHours => "8 hours",
            Span::TwoDays => "48 hours",
        }
    }

    fn since_the_beginning(&self) -> String {
        let n = numbers::grouped;
        let Counts { accepted, delivered, dead, dropped, attempts, failed, retried, .. } =
            self.totals;
        format!(
            "Since this Redis began: {} rows accepted, {} delivered, {} died, {} dropped from the dead letters; {} \
             attempts, of which {} failed and {} were to be repeated.",
            n(accepted),
            n(delivered),
            n(dead),
            n(dropped),
            n(attempts),
            n(failed),
            n(retried)
        )
    }

    fn box_columns(&self) -> [&'static str; 8] {
        BoxView::COLUMNS
    }

    /// The row of key figures: name, figure, what more there is to say.
    fn key_figures(&self) -> Vec<(&'static str, String, String)> {
        let rate = |n: f64| format!("{}/s", numbers::count(n));
        let memory = numbers::bytes(self.redis.memory_bytes as f64);
        let limit = self
            .redis
            .memory_limit_bytes
            .map_or("no limit".to_owned(), |limit| format!("of {}", numbers::bytes(limit as f64)));
        let rows = |n: u64| numbers::grouped(n);
        let lately = || "over the last minute".to_owned();
        let paused = if self.paused.is_some() { "paused" } else { "running" };
        vec![
            ("In", rate(self.accepted_per_second), lately()),
            ("Delivered", rate(self.delivered_per_second), lately()),
            ("Failed attempts", rate(self.failed_per_second), lately()),
            ("Backlog", rows(self.backlog_rows), "rows".to_owned()),
            ("Oldest row", numbers::seconds(self.oldest_row_seconds), "waits so long".to_owned()),
            ("Dead letters", rows(self.dead_rows), "rows".to_owned()),
            ("In flight", rows(self.in_flight), "requests".to_owned()),
            ("Breakers open", rows(self.breakers_open), "lanes parked".to_owned()),
            ("Redis's memory", memory, limit),
            ("Fleet", paused.to_owned(), self.paused.clone().unwrap_or_default()),
        ]
    }
}
