//! What is measured beside the journals: whether the backlog drained, and what the processes take.

use std::{collections::BTreeMap, time::Duration};

use super::{Invariant, Report};

const MIB: u64 = 1024 * 1024;
/// What a process may grow by between warm-up and end, beside half of what it had: pools, caches, connections.
const ROOM: u64 = 24 * MIB;
/// Descriptors that a process may have more than twice as many as at warm-up: kept connections of many lanes.
const MORE_FILES: u64 = 64;

/// A process's use at a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::chaos) struct Sample {
    /// Bytes resident.
    pub(in crate::chaos) memory: u64,
    /// Open descriptors.
    pub(in crate::chaos) files: u64,
}

/// What was measured of a trial.
#[derive(Debug, Clone, Default)]
pub(in crate::chaos) struct Health {
    /// From healing until nothing was pending or held; `None`: not in time.
    pub(in crate::chaos) drained: Option<Duration>,
    /// How long it might take.
    pub(in crate::chaos) within: Duration,
    /// What was left then.
    pub(in crate::chaos) left: String,
    /// By program, the largest process of each: after warm-up, and at the end.
    pub(in crate::chaos) warm: BTreeMap<String, Sample>,
    pub(in crate::chaos) end: BTreeMap<String, Sample>,
    /// Bytes of the delivery log that Redis keeps on purpose.
    pub(in crate::chaos) log_bytes: u64,
}

impl Health {
    /// What was measured, for people.
    pub(in crate::chaos) fn figures(&self) -> String {
        let grown = self.warm.iter().filter_map(|(program, warm)| {
            let end = self.end.get(program)?;
            let (before, after) = (warm.memory / MIB, end.memory / MIB);
            Some(format!(
                "{program} {before} to {after} MiB, {} to {} files",
                warm.files, end.files
            ))
        });
        let log = format!("the delivery log {} MiB", self.log_bytes / MIB);
        grown.chain([log]).collect::<Vec<_>>().join("; ")
    }
}

/// Judges it.
pub(in crate::chaos) fn judge(health: &Health, report: &mut Report) {
    if health.drained.is_none() {
        let text = format!("after {:?}: {}", health.within, health.left);
        report.breach(Invariant::Drains, text);
    }
    for (program, warm) in &health.warm {
        let Some(end) = health.end.get(program) else {
            report.breach(Invariant::Flat, format!("{program} does not run at the end"));
            continue;
        };
        // Twice the log: the stream's own nodes, and what the allocator holds while it grows.
        let kept = if program == "redis-server" { 2 * health.log_bytes } else { 0 };
        let most = warm.memory + warm.memory / 2 + ROOM + kept;
        if end.memory > most {
            let mib = |bytes: u64| bytes / MIB;
            let text = format!(
                "{program} grew from {} to {} MiB, at most {} were expected",
                mib(warm.memory),
                mib(end.memory),
                mib(most)
            );
            report.breach(Invariant::Flat, text);
        }
        if end.files > 2 * warm.files + MORE_FILES {
            let text = format!("{program} went from {} to {} descriptors", warm.files, end.files);
            report.breach(Invariant::Flat, text);
        }
    }
}
