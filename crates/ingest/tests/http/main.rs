//! Ingest over HTTP, against a real Redis.

#![expect(clippy::unwrap_used, reason = "a test fails by a panic")]

mod answers;
mod dry_run;
mod faults;
mod options;
mod process;
mod support;
