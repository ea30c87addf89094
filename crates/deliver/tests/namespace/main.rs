//! Where `deliver` connects to and where it does not: in a network namespace in which every address answers,
//! with a name server of the test's own.
//!
//! Each test runs itself again in a namespace ([`namespace`]). No packet leaves it.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "figures for those who ask with --nocapture")]

mod cases;
mod dns;
mod hostile;
mod names;
mod namespace;
mod options;
mod partners;
mod ranges;
mod rebinding;
mod stack;
mod zone;
