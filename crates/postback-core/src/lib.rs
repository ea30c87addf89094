//! What `ingest` and `deliver` share: the request's meaning, the stored form, and the queue in Redis.
//!
//! `endpoint`, `template`, `policy`, `batch`, `attempt` and `trace` are pure: no async, clock, environment or
//! randomness. Only `queue` knows a Redis key.

pub mod attempt;
pub mod batch;
pub mod daemon_log;
pub mod dead_letters;
pub mod descriptors;
pub mod endpoint;
pub mod exposition;
pub mod failures;
pub mod figures;
pub mod health;
pub mod id;
pub mod inert;
pub mod logging;
mod needle;
pub mod operate;
pub mod options;
pub mod policy;
pub mod queue;
pub mod redis;
pub mod request;
pub mod sampler;
pub mod select;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod trace;
pub mod value;
pub mod view;
pub mod when;
