//! What the system knows of this process, under the names that every Prometheus client uses.

use std::{fmt, fs};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{counter::ConstCounter, gauge::ConstGauge},
};

use crate::descriptors;

/// Of a second: Linux tells times in it on every machine (USER_HZ; time(7)).
const TICK: f64 = 0.01;

#[derive(Debug)]
pub(super) struct Process;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut tell = |name, help, value: Option<f64>| {
            let Some(value) = value else { return Ok(()) };
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)
        };
        let stat = stat();
        tell("process_resident_memory_bytes", "Resident memory.", resident_bytes())?;
        tell("process_open_fds", "Open file descriptors.", open_files())?;
        let most = descriptors::soft_limit().map(|limit| limit as f64);
        tell("process_max_fds", "The limit of open file descriptors.", most)?;
        let started = stat.as_ref().and_then(|stat| Some(boot_seconds()? + stat.started));
        tell("process_start_time_seconds", "When the process began, Unix time.", started)?;
        let Some(stat) = stat else { return Ok(()) };
        let cpu = ConstCounter::new(stat.cpu);
        let help = "User and system CPU time.";
        cpu.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            cpu.metric_type(),
        )?)
    }
}

/// Seconds.
struct Stat {
    cpu: f64,
    /// Since the machine's start.
    started: f64,
}

fn stat() -> Option<Stat> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The second field, the program's name, may hold anything; the third follows its last parenthesis (proc(5)).
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |n: usize| Some(fields.get(n - 3)?.parse::<f64>().ok()? * TICK);
    Some(Stat { cpu: ticks(14)? + ticks(15)?, started: ticks(22)? })
}

/// When the machine started, Unix time.
fn boot_seconds() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<f64>().ok()? * 1024.0)
}

/// Without the one that this opens itself.
fn open_files() -> Option<f64> {
    let files = fs::read_dir("/proc/self/fd").ok()?;
    Some(files.count().saturating_sub(1) as f64)
}
