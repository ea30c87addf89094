//! What Prometheus may ask of this process: `/metrics`, `/healthz`, `/readyz`.

use std::{
    convert::Infallible,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use http_body_util::Full;
use hyper::{
    Request, Response, body::Bytes, body::Incoming, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use postback_core::attempt::{Next, Outcome};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use tokio::{net::TcpListener, sync::Semaphore};

/// Scrapers at a time; further ones wait.
const MOST_CONNECTIONS: usize = 32;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

/// The counters of this process.
pub(crate) struct Metrics {
    registry: Registry,
    attempts: Family<OutcomeLabel, Counter>,
    response: Histogram,
    accept_to_delivered: Histogram,
    pub(crate) in_flight: Gauge,
    pub(crate) reserved: Counter<u64, AtomicU64>,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let mut registry = Registry::with_prefix("postback");
        // 1 ms to 65 s, and for waits to 4.6 days.
        let response = Histogram::new(exponential_buckets(0.001, 2.0, 17));
        let accept_to_delivered = Histogram::new(exponential_buckets(0.001, 3.0, 19));
        let metrics = Metrics {
            attempts: Family::default(),
            response: response.clone(),
            accept_to_delivered: accept_to_delivered.clone(),
            in_flight: Gauge::default(),
            reserved: Counter::default(),
            registry: Registry::default(),
        };
        registry.register("attempts", "Attempts by what followed", metrics.attempts.clone());
        registry.register("in_flight", "Requests in flight", metrics.in_flight.clone());
        registry.register(
            "rows_reserved",
            "Rows taken from Redis to be sent",
            metrics.reserved.clone(),
        );
        registry.register_with_unit(
            "response",
            "First byte out to last byte in",
            Unit::Seconds,
            response,
        );
        registry.register_with_unit(
            "accept_to_delivered",
            "Stored in Redis to delivered",
            Unit::Seconds,
            accept_to_delivered,
        );
        Metrics { registry, ..metrics }
    }

    pub(crate) fn observe(&self, outcome: &Outcome, next: Next) {
        let outcome_name = match next {
            Next::Delivered => "delivered",
            Next::Retry(_) => "retry",
            Next::Dead(_) => "dead",
        };
        self.attempts.get_or_create(&OutcomeLabel { outcome: outcome_name }).inc();
        self.response.observe(outcome.response_time.as_secs_f64());
    }

    pub(crate) fn delivered_after(&self, wait: Duration) {
        self.accept_to_delivered.observe(wait.as_secs_f64());
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        _ = encode(&mut text, &self.registry);
        text
    }
}

/// Serves the pages for as long as the process lives; `is_ready` tells what `/readyz` says.
pub(crate) async fn serve(
    listener: TcpListener,
    process: Rc<crate::process::Process>,
    is_ready: Rc<dyn Fn() -> bool>,
) {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(permit) = places.clone().acquire_owned().await else { return };
        let (stream, _) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, mostly; others will be closed soon.
                log::warn!("cannot accept on the metrics listener: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        let (process, is_ready) = (process.clone(), is_ready.clone());
        let answer = service_fn(move |request: Request<Incoming>| {
            let (status, kind, text) = match request.uri().path() {
                "/metrics" => (
                    200,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    process.metrics.text(),
                ),
                "/healthz" => (200, "text/plain", "ok\n".to_owned()),
                "/readyz" if is_ready() => (200, "text/plain", "ready\n".to_owned()),
                "/readyz" => (503, "text/plain", "redis is away\n".to_owned()),
                _ => (404, "text/plain", "there are /metrics, /healthz and /readyz\n".to_owned()),
            };
            let response = Response::builder().status(status).header("content-type", kind);
            let response = response.body(Full::new(Bytes::from(text))).unwrap_or_default();
            std::future::ready(Ok::<_, Infallible>(response))
        });
        tokio::task::spawn_local(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .max_buf_size(16 * 1024);
            let _permit = permit;
            // A client that goes away in the middle concerns nobody.
            drop(http.serve_connection(TokioIo::new(stream), answer).await);
        });
    }
}
