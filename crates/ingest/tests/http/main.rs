//! Ingest over HTTP, against a real Redis.

mod answers;
mod dry_run;
mod process;
mod support;
