//! `ingest`: takes requests over HTTP and puts their rows into Redis.
//!
//! A library, so that tests run it on a free port. What a request means is `postback_core::request`'s, how rows are
//! kept `postback_core::queue`'s.

mod accept;
mod admin;
mod body;
mod client;
mod coalesce;
pub mod config;
mod connection;
mod door;
mod dry_run;
mod idempotency;
mod metrics;
mod nginx;
mod openapi;
mod problem;
mod routes;
pub mod server;
mod store;
mod throttle;
mod tokens;
mod trace;
