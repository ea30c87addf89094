//! Processes by /proc: which run under supervisord, what they take, and signals to them.

use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
};

use crate::{chaos::check::Sample, isolation::measure::memory};

/// A process under supervisord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::chaos) struct Process {
    pub(in crate::chaos) pid: u32,
    /// The name of its program as the kernel has it: at most 15 characters.
    pub(in crate::chaos) program: String,
}

/// Sends a signal to processes. One that is gone is none's concern.
pub(in crate::chaos) fn signal(pids: &[u32], name: &str) {
    if pids.is_empty() {
        return;
    }
    let pids = pids.iter().map(u32::to_string);
    let mut kill = Command::new("kill");
    _ = kill.arg(format!("-{name}")).args(pids).stderr(Stdio::null()).status();
}

/// All that descend from a process and are not dead.
pub(super) fn descendants(root: u32) -> Vec<Process> {
    let mut all: BTreeMap<u32, Vec<Process>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some((parent, process)) = parse(pid, &stat) {
            all.entry(parent).or_default().push(process);
        }
    }
    let mut found: Vec<Process> = all.remove(&root).unwrap_or_default();
    let mut next = 0;
    while next < found.len() {
        found.extend(all.remove(&found[next].pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The parent of a process and the process, from /proc/PID/stat; `None` for a zombie.
fn parse(pid: u32, stat: &str) -> Option<(u32, Process)> {
    // The name in brackets may hold anything.
    let (name, rest) = stat.rsplit_once(')')?;
    let program = name.split_once('(')?.1.to_owned();
    let mut fields = rest.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X")).then_some((parent, Process { pid, program }))
}

/// By program, what the largest of these processes takes.
pub(in crate::chaos) fn sample(processes: &[Process]) -> BTreeMap<String, Sample> {
    let mut samples: BTreeMap<String, Sample> = BTreeMap::new();
    for Process { pid, program } in processes {
        // One that ends just now is not counted.
        let Ok(memory) = memory(*pid, "VmRSS") else { continue };
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { continue };
        let sample = samples.entry(program.clone()).or_default();
        sample.memory = sample.memory.max(memory);
        sample.files = sample.files.max(files.count() as u64);
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_its_parent_and_a_dead_one_is_none() {
        let check = |stat: &str, expect: Option<(u32, &str)>| {
            let found = parse(7, stat).map(|(parent, process)| (parent, process.program));
            assert_eq!(found, expect.map(|(parent, program)| (parent, program.to_owned())));
        };
        check("7 (deliver) S 3 7 7 0", Some((3, "deliver")));
        check("7 (a) b) (c) T 3 7 7 0", Some((3, "a) b) (c")));
        check("7 (deliver) Z 3 7 7 0", None);
        check("", None);
    }

    #[test]
    fn a_child_is_found_until_it_is_dead() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let is_child = |process: &Process| process.pid == child.id() && process.program == "sleep";
        assert!(descendants(std::process::id()).iter().any(is_child));
        let used = sample(&descendants(std::process::id()));
        assert!(used["sleep"].memory > 0 && used["sleep"].files >= 3, "{used:?}");
        signal(&[child.id()], "KILL");
        child.wait().unwrap();
        assert!(!descendants(std::process::id()).iter().any(|process| process.pid == child.id()));
    }
}
