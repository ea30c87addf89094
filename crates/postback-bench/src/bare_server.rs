//! The bare server: what actix-web and serde_json alone cost, which `ingest` is measured against.
//!
//! It reads the same requests, on one worker thread, parses each body as JSON, keeps nothing and answers 202. It has
//! no checks, no time limits, no Redis, no metrics, no log.

use std::{
    io::{self, Write as _},
    net::SocketAddr,
};

use actix_web::{App, HttpResponse, HttpServer, web};
use anyhow::Context;
use serde_json::{Value, json};

/// The longest body, in bytes: as `ingest --max-body` is by default.
const MAX_BODY: usize = 8 * 1024 * 1024;

/// Options of `bare-server`.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Serves until killed; writes `listening on ADDR` first.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let app = || {
        App::new()
            .app_data(web::PayloadConfig::new(MAX_BODY))
            .service(web::resource("/ingest").post(accept))
    };
    let server = HttpServer::new(app)
        .workers(1)
        .bind(options.listen)
        .with_context(|| format!("cannot listen on {}", options.listen))?;
    for address in server.addrs() {
        writeln!(io::stdout().lock(), "listening on {address}")?;
    }
    Ok(server.run().await?)
}

/// Answers a request.
async fn accept(body: web::Bytes) -> HttpResponse {
    match serde_json::from_slice::<Value>(&body) {
        Ok(request) => {
            let rows = request["data"].as_array().map_or(0, Vec::len);
            HttpResponse::Accepted().json(json!({ "accepted": rows }))
        }
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}
