//! The faults: what each does, what it may cost by DESIGN's table of crashes, and whether it is in the quick subset.
//!
//! How one is staged is in `faults/`: `daemons` (signals and restarts), `redis` (Redis itself), `replies` (lost answers),
//! `freeze` (what stands still), `poison` (what others store). The list is in `faults/table.rs`.

mod backlog;
mod clocks;
mod daemons;
mod disks;
mod freeze;
mod links;
mod poison;
mod redis;
mod replies;
mod table;

use std::{pin::Pin, time::Duration};

pub(super) use self::table::TABLE;
use super::{
    check::Allowed,
    stack::{DELIVERS, IN_FLIGHT, Stack},
    trial::{Plan, Scene},
};

/// A fault under way; it ends when all is healed.
type Staged<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// One fault.
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// What it does, for the help.
    pub(super) about: &'static str,
    /// Whether it is part of the quick subset.
    pub(super) quick: bool,
    /// Whether it needs a namespace of its own, for disks and links.
    pub(super) needs_namespace: bool,
    pub(super) allowed: Allowed,
    /// Within this, from healing on, the backlog must be gone. Every trial's has retries of 3 s to go.
    pub(super) within: Duration,
    /// What is done before the load begins.
    pub(super) prepare: for<'a> fn(&'a Stack) -> Staged<'a>,
    /// Changes the usual trial.
    pub(super) plan: fn(&mut Plan),
    pub(super) stage: for<'a> fn(&'a mut Scene) -> Staged<'a>,
}

/// Outcomes that a killed deliver had not told Redis: those of 10 ms and of the settle under way, at these trials'
/// loads. DESIGN's bound for any load is 256.
const UNTOLD: u64 = 64;

/// Outcomes of a second at these trials' loads, one large request among them: what a deliver may have unacknowledged.
/// DESIGN's bound for any load is 4,096.
const A_SECOND: u64 = 700;

/// What so many kills of a deliver may repeat.
const fn kills(n: u64) -> u64 {
    n * (IN_FLIGHT + UNTOLD)
}

/// Redis as the shell of `faults/` asks it.
async fn ask<T: ::redis::FromRedisValue>(stack: &Stack, words: &[&str]) -> anyhow::Result<T> {
    let mut command = ::redis::cmd(words.first().unwrap_or(&""));
    command.arg(words.get(1..));
    Ok(command.query_async(&mut stack.redis().await?).await?)
}

const NOTHING: Allowed = Allowed::NOTHING;
/// As `NOTHING`, but it may take time.
const DELAYS: Allowed = Allowed { delays: true, broken: true, ..NOTHING };
/// As `DELAYS`, and requests may be refused or stay without an answer meanwhile.
const REFUSALS: Allowed = Allowed { refusals: true, ..DELAYS };

const fn repeats(n: u64, allowed: Allowed) -> Allowed {
    Allowed { repeated: n, unlogged: n, ..allowed }
}

/// A lease runs out after 30 s and is noticed within 5 s; then come the retries.
const AFTER_LEASE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(30);

/// What a fault is unless it says otherwise.
const USUAL: Fault = Fault {
    name: "",
    about: "",
    quick: false,
    needs_namespace: false,
    allowed: REFUSALS,
    within: SOON,
    prepare: |_| Box::pin(std::future::ready(Ok(()))),
    plan: |_| {},
    stage: |_| Box::pin(std::future::ready(Ok(()))),
};
