//! `deliver`: takes rows from Redis, sends one HTTP request for each, retries, and records what happened.
//!
//! One process is one current-thread runtime, so its state needs no locks. The way of a row: `worker/reserve`
//! takes its batch, `lane` puts it on a connection, `attempt` fills and sends it (`send`, `connect`, `guard`),
//! `record` writes down what happened, `worker/settle` tells Redis (and `deliveries` standard output, if asked).

mod attempt;
mod config;
mod connect;
mod deliveries;
mod descriptors;
mod guard;
mod lane;
mod metrics;
mod process;
mod record;
mod run;
mod send;
mod sign;
mod worker;

pub use self::{config::Config, run::run};
