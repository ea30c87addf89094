//! `/metrics`: the figures that Redis keeps, the same from every ingest of a fleet, and what this process counts.
//!
//! Without Redis there are only the latter, and `postback_ready` is 0.

mod fleet;
mod requests;

use actix_web::{HttpRequest, HttpResponse, http::header, web};
use postback_core::exposition::{self, Exposition};
use prometheus_client::{metrics::gauge::Gauge, registry::Registry};

pub(crate) use self::{
    fleet::Fleet,
    requests::{Asked, Requests},
};
use crate::{accept::Bounds, store::Store};

/// Answers a scrape.
pub(crate) async fn metrics(
    request: HttpRequest,
    store: web::Data<Store>,
    requests: web::Data<Requests>,
    bounds: web::Data<Bounds>,
) -> HttpResponse {
    let mut registry = Registry::default();
    exposition::register(&mut registry);
    store.trips().register(&mut registry);
    requests.register(&mut registry);
    let is_ready = store.ready().await.is_ok();
    let ready = Gauge::<i64>::default();
    ready.set(is_ready.into());
    registry.register("postback_ready", "1: rows can be stored; 0: requests get 503", ready);
    if is_ready && let Ok(fleet) = store.fleet().await {
        fleet.register(&mut registry, bounds.max_backlog);
    }
    let accept = request.headers().get_all(header::ACCEPT);
    let form = Exposition::of(accept.filter_map(|value| value.to_str().ok()));
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, form.content_type()))
        .body(form.write(&registry))
}
