//! The pages' style and their one script, compiled in.

use actix_web::{HttpResponse, http::header};

/// Long enough for a session, short enough that an upgrade shows.
const CACHED: &str = "max-age=300";

pub(super) async fn style() -> HttpResponse {
    asset("text/css; charset=utf-8", include_str!("../../assets/style.css"))
}

pub(super) async fn script() -> HttpResponse {
    asset("text/javascript; charset=utf-8", include_str!("../../assets/live.js"))
}

fn asset(kind: &str, text: &'static str) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, kind))
        .insert_header((header::CACHE_CONTROL, CACHED))
        .body(text)
}
