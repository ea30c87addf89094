//! `/metrics`: the figures that Redis keeps, the same from every ingest of a fleet.

use std::{sync::atomic::AtomicU64, time::Duration};

use actix_web::{
    HttpResponse,
    http::{StatusCode, header},
    web,
};
use postback_core::queue::Stats;
use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::{problem::Problem, store::Store};

/// The content type of what `encode` writes.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answers a scrape.
pub(crate) async fn metrics(store: web::Data<Store>) -> Result<HttpResponse, Problem> {
    let stats = store.stats().await.map_err(|error| Problem::not_ready(&error))?;
    let oldest = store.oldest().await.map_err(|error| Problem::not_ready(&error))?;
    let mut text = String::new();
    encode(&mut text, &registry(&stats, oldest))
        .map_err(|_| Problem::of_status(StatusCode::INTERNAL_SERVER_ERROR))?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, OPEN_METRICS)).body(text))
}

fn registry(stats: &[Stats], oldest: Duration) -> Registry {
    let sum = |figure: fn(&Stats) -> u64| stats.iter().map(figure).sum::<u64>();
    let mut registry = Registry::default();
    let counter = Counter::<u64>::default();
    counter.inc_by(sum(|stats| stats.accepted));
    registry.register("postback_rows_accepted", "Rows stored since this Redis began", counter);
    let dropped = Counter::<u64>::default();
    dropped.inc_by(sum(|stats| stats.dropped));
    let help = "Rows dropped from the dead letters, by their bound or by hand";
    registry.register("postback_dropped_rows", help, dropped);
    for (name, help, value) in [
        ("postback_backlog_rows", "Rows that wait for an attempt", sum(|stats| stats.pending)),
        (
            "postback_backlog_bytes",
            "Bytes of batches, row states and kept answers in Redis",
            sum(|s| s.bytes),
        ),
        (
            "postback_kept_answer_bytes",
            "Those of postback_backlog_bytes that are answers kept for an Idempotency-Key",
            sum(|s| s.answer_bytes),
        ),
        ("postback_dead_rows", "Rows in the dead letters", sum(|stats| stats.dead)),
    ] {
        let gauge = Gauge::<i64>::default();
        gauge.set(value.try_into().unwrap_or(i64::MAX));
        registry.register(name, help, gauge);
    }
    let age = Gauge::<f64, AtomicU64>::default();
    age.set(oldest.as_secs_f64());
    registry.register("postback_oldest_row_seconds", "How long the oldest row waits", age);
    registry
}
