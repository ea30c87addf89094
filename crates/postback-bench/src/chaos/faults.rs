//! The faults: what each does, what it may cost by DESIGN's table of crashes, and whether it is in the quick subset.
//!
//! How one is staged is in `faults/`: `daemons` (signals and restarts), `redis` (Redis itself).

mod daemons;
mod redis;

use std::{pin::Pin, time::Duration};

use super::{
    check::Allowed,
    stack::{DELIVERS, IN_FLIGHT},
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
    pub(super) allowed: Allowed,
    /// Within this, from healing on, the backlog must be gone. Every trial's has retries of 3 s to go.
    pub(super) within: Duration,
    /// Changes the usual trial.
    pub(super) plan: fn(&mut Plan),
    pub(super) stage: for<'a> fn(&'a mut Scene) -> Staged<'a>,
}

/// Outcomes that a killed deliver had not told Redis: those of 10 ms and of the settle under way, at these trials'
/// loads. DESIGN's bound for any load is 256.
const UNTOLD: u64 = 64;

/// What so many kills of a deliver may repeat.
const fn kills(n: u64) -> u64 {
    n * (IN_FLIGHT + UNTOLD)
}

/// Nothing is repeated, nothing is missing in the log, nothing comes late.
const NOTHING: Allowed =
    Allowed { repeated: 0, unlogged: 0, refusals: false, delays: false, jumps: false };
/// As `NOTHING`, but it may take time.
const DELAYS: Allowed = Allowed { delays: true, ..NOTHING };
/// As `DELAYS`, and requests may be refused or stay without an answer meanwhile.
const REFUSALS: Allowed = Allowed { refusals: true, ..DELAYS };

const fn repeats(n: u64, allowed: Allowed) -> Allowed {
    Allowed { repeated: n, unlogged: n, ..allowed }
}

/// A lease runs out after 30 s and is noticed within 5 s; then come the retries.
const AFTER_LEASE: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(30);

fn as_usual(_: &mut Plan) {}

/// All faults, in the order in which they are staged.
pub(super) const TABLE: &[Fault] = &[
    Fault {
        name: "none",
        about: "no fault: the control",
        quick: true,
        allowed: NOTHING,
        within: SOON,
        plan: as_usual,
        stage: |_| Box::pin(daemons::nothing()),
    },
    Fault {
        name: "kill-deliver",
        about: "kill -9 of a deliver, 3 times",
        quick: true,
        allowed: repeats(kills(3), DELAYS),
        within: AFTER_LEASE,
        plan: as_usual,
        stage: |scene| Box::pin(daemons::kill(scene, "deliver", 3)),
    },
    Fault {
        name: "kill-deliver-20",
        about: "kill -9 of a deliver, 20 times",
        quick: false,
        allowed: repeats(kills(20), DELAYS),
        within: AFTER_LEASE,
        plan: as_usual,
        stage: |scene| Box::pin(daemons::kill(scene, "deliver", 20)),
    },
    Fault {
        name: "kill-ingest",
        about: "kill -9 of ingest under load, 3 times",
        quick: true,
        allowed: REFUSALS,
        within: SOON,
        plan: as_usual,
        stage: |scene| Box::pin(daemons::kill(scene, "ingest", 3)),
    },
    Fault {
        name: "stop-deliver",
        about: "SIGTERM to each deliver in turn, 4 times",
        quick: true,
        allowed: DELAYS,
        within: SOON,
        plan: as_usual,
        stage: |scene| Box::pin(daemons::stop(scene, 4)),
    },
    Fault {
        name: "restart-each",
        about: "supervisorctl restart of nginx, ingest, deliver and redis, 5 times each",
        quick: false,
        allowed: REFUSALS,
        within: SOON,
        plan: as_usual,
        stage: |scene| {
            Box::pin(daemons::restart(scene, &["nginx", "ingest", "deliver:*", "redis"]))
        },
    },
    Fault {
        name: "restart-all",
        about: "supervisorctl restart all, 5 times: Redis goes at once, deliver cannot settle what it has sent",
        quick: false,
        allowed: repeats(5 * kills(DELIVERS), REFUSALS),
        within: AFTER_LEASE,
        plan: as_usual,
        stage: |scene| Box::pin(daemons::restart(scene, &["all"])),
    },
    Fault {
        name: "kill-redis-everysec",
        about: "kill -9 of Redis with appendfsync everysec, 3 times",
        quick: true,
        allowed: REFUSALS,
        within: SOON,
        plan: as_usual,
        stage: |scene| Box::pin(daemons::kill(scene, "redis-server", 3)),
    },
    Fault {
        name: "kill-redis-always",
        about: "kill -9 of Redis with appendfsync always, 3 times",
        quick: false,
        allowed: REFUSALS,
        within: SOON,
        plan: |plan| plan.settings.redis.push("appendfsync always".into()),
        stage: |scene| Box::pin(daemons::kill(scene, "redis-server", 3)),
    },
    Fault {
        name: "redis-away",
        about: "Redis stopped for 20 s",
        quick: false,
        allowed: REFUSALS,
        within: SOON,
        plan: as_usual,
        stage: |scene| Box::pin(redis::away(scene)),
    },
];
