//! What `deliver` does as a process, against a real Redis and a real partner.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod delivery;
mod end_to_end;
mod faults;
mod isolation;
mod limits;
mod lost_replies;
mod options;
mod redis_trouble;
mod start;
mod support;
