//! The description of the HTTP interface that ingest serves: `openapi.json`, beside the sources. That it tells the truth is
//! tested in `tests/http/openapi.rs`.

use actix_web::{HttpResponse, http::header};

/// OpenAPI 3.1, which takes JSON Schema as it is (draft 2020-12).
const DOCUMENT: &str = include_str!("../openapi.json");
/// It changes with the program only: an hour in which a cache may be behind an upgrade.
const CACHE: &str = "public, max-age=3600";

pub(crate) async fn openapi() -> HttpResponse {
    HttpResponse::Ok()
        .content_type(header::ContentType::json())
        .insert_header((header::CACHE_CONTROL, CACHE))
        .body(DOCUMENT)
}
