//! What `deliver` does as a process, against a real Redis and a real partner.

mod crash;
mod delivery;
mod options;
mod start;
mod support;
