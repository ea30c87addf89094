//! One file for each command, and what several of them share: `filter.rs` which rows, `timeline.rs` what is told of one.

pub(crate) mod completions;
pub(crate) mod dead;
mod filter;
pub(crate) mod find;
pub(crate) mod hosts;
pub(crate) mod limit;
pub(crate) mod man;
pub(crate) mod pause;
pub(crate) mod revise;
pub(crate) mod send;
pub(crate) mod show;
pub(crate) mod status;
mod timeline;
