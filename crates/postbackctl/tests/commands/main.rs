//! The commands as an operator runs them, against a real Redis.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod examples;
mod generated;
mod reading;
mod revising;
mod support;
mod terminal;
