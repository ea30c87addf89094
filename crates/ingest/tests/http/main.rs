//! Ingest over HTTP, against a real Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod answers;
mod backlog;
mod bad_input;
mod body;
mod coalesce;
mod crew;
mod daemon_log;
mod dead_letters;
mod dry_run;
mod edges;
mod failures;
mod faults;
mod fleet;
mod idempotency;
mod inert;
mod lanes;
mod many;
mod metrics;
mod openapi;
mod options;
mod pages;
mod pipelined;
mod postback_page;
mod process;
mod requests_page;
mod slow_redis;
mod stage;
mod support;
mod throttle;
mod tokens;
mod trace;
mod try_out;
