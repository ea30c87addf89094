//! `ingest`: takes requests over HTTP and puts their rows into Redis.
//!
//! A library, so that tests run it on a free port. What a request means is `postback_core::request`'s, how rows are
//! kept `postback_core::queue`'s.

mod accept;
mod body;
pub mod config;
mod connection;
mod dry_run;
pub mod logging;
mod metrics;
mod problem;
mod routes;
pub mod server;
mod store;
mod trace;
