//! What `deliver` does as a process, against a real Redis and a real partner.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod crash;
mod dead;
mod delivery;
mod end_to_end;
mod faults;
mod isolation;
mod lease;
mod limits;
mod lines;
mod lost_replies;
mod options;
mod overview;
mod poison;
mod redis_trouble;
mod shutdown;
mod start;
mod support;
mod trace;
mod versions;
