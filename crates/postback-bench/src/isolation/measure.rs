//! What is read off the processes: CPU time and memory from /proc, figures over HTTP; and percentiles.

use std::{
    fs,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Ticks of a second in /proc/PID/stat: USER_HZ, 100 on every Linux that programs see.
const TICKS: f64 = 100.0;
/// How long a page may take; a process with 20,000 requests in flight is busy.
const PAGE: Duration = Duration::from_secs(10);
/// How often the sink's counts are looked at while postbacks are waited for.
const LOOK: Duration = Duration::from_millis(100);

/// CPU seconds, user and system, that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    // The name in brackets may hold anything; utime and stime are the 14th and 15th field.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let ticks: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    anyhow::ensure!(ticks.len() == 2, "{path} has no times");
    Ok(ticks.iter().sum::<u64>() as f64 / TICKS)
}

/// A line of /proc/PID/status that is in kB, in bytes: `VmRSS`, `VmHWM`.
pub(crate) fn memory(pid: u32, line: &str) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let found = text.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':'));
    let kib = found.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    Ok(1024 * kib.with_context(|| format!("{path} has no {line}"))?)
}

/// The CPU time of the whole machine so far, in ticks: others' work shows here.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Machine {
    busy: u64,
    all: u64,
}

impl Machine {
    pub(super) fn now() -> anyhow::Result<Machine> {
        let text = fs::read_to_string("/proc/stat").context("cannot read /proc/stat")?;
        let line = text.lines().next().unwrap_or_default();
        // user, nice, system, idle, iowait, irq, softirq, steal
        let ticks: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        let all: u64 = ticks.iter().sum();
        Ok(Machine { busy: all - idle, all })
    }

    /// The share of all cores in use since then.
    pub(super) fn busy_since(&self, before: &Machine) -> f64 {
        (self.busy.saturating_sub(before.busy)) as f64
            / self.all.saturating_sub(before.all).max(1) as f64
    }
}

/// The hard limit on open files, which this program's children have too.
pub(super) fn hard_limit() -> anyhow::Result<usize> {
    let text = fs::read_to_string("/proc/self/limits").context("cannot read the limits")?;
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"));
    let hard = line.and_then(|line| line.split_whitespace().nth(1));
    Ok(hard.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX))
}

/// A page's status and text.
async fn get(address: SocketAddr, path: &str) -> anyhow::Result<(StatusCode, String)> {
    let ask = async {
        let stream = TcpStream::connect(address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::task::spawn_local(connection);
        let request = Request::get(path).header("host", address.to_string());
        let answer = sender.send_request(request.body(Full::<Bytes>::default())?).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::time::timeout(PAGE, ask).await.with_context(|| format!("no answer from {address}"))?
}

/// A page's text, whatever its status.
pub(crate) async fn page(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    Ok(get(address, path).await?.1)
}

/// Whether a `deliver` is ready.
pub(crate) async fn is_ready(metrics: SocketAddr) -> bool {
    get(metrics, "/readyz").await.is_ok_and(|(status, _)| status == StatusCode::OK)
}

/// What a `deliver` tells of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Requests in flight now.
    pub(crate) in_flight: u64,
    /// Attempts after which a row was delivered.
    pub(crate) delivered: u64,
}

/// Asks a `deliver` for its figures.
pub(crate) async fn seen(metrics: SocketAddr) -> anyhow::Result<Seen> {
    let (_, text) = get(metrics, "/metrics").await?;
    Ok(parse(&text))
}

fn parse(text: &str) -> Seen {
    let value = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name));
        rest.and_then(|rest| rest.trim().parse().ok()).unwrap_or_default()
    };
    Seen {
        in_flight: value("postback_in_flight "),
        delivered: value(r#"postback_attempts_total{outcome="delivered"} "#),
    }
}

/// What the sink counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) requests: u64,
    /// Different `webhook-id`s.
    pub(super) ids: u64,
    pub(super) repeats: u64,
}

/// Asks the sink what it counted.
pub(super) async fn counts(sink: SocketAddr) -> anyhow::Result<Counts> {
    Ok(serde_json::from_str(&get(sink, "/__count").await?.1)?)
}

/// Waits until so many different postbacks reached the sink, or for the end of the time; tells what it counted.
pub(super) async fn until_arrived(
    sink: SocketAddr,
    ids: u64,
    within: Duration,
) -> anyhow::Result<Counts> {
    let since = Instant::now();
    loop {
        let counts = counts(sink).await?;
        if counts.ids >= ids || since.elapsed() > within {
            return Ok(counts);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The value below which so many thousandths of `all` values lie, of which the least are here, sorted; `None` where
/// it is not among them.
pub(crate) fn per_mille(sorted: &[u64], all: usize, mille: usize) -> Option<u64> {
    let rank = (all * mille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let check = |sorted: &[u64], all, mille, expect| {
            assert_eq!(per_mille(sorted, all, mille), expect, "{mille} of {all}");
        };
        let hundred: Vec<u64> = (1..=100).collect();
        check(&hundred, 100, 500, Some(50));
        check(&hundred, 100, 990, Some(99));
        check(&hundred, 100, 1000, Some(100));
        check(&hundred, 101, 990, Some(100));
        check(&hundred, 101, 1000, None);
        check(&[7], 1, 990, Some(7));
        check(&[], 0, 990, None);
    }

    #[test]
    fn metrics_are_read_by_their_whole_name() {
        let text = "postback_in_flight 12\n\
                    postback_attempts_total{outcome=\"delivered\"} 345\n\
                    postback_attempts_total{outcome=\"retry\"} 6\n";
        assert_eq!(parse(text), Seen { in_flight: 12, delivered: 345 });
        assert_eq!(parse(""), Seen::default());
    }

    #[test]
    fn this_process_has_memory_and_a_limit() {
        let pid = std::process::id();
        assert!(memory(pid, "VmRSS").unwrap() > 0);
        assert!(memory(pid, "VmHWM").unwrap() >= memory(pid, "VmRSS").unwrap() / 2);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
        assert!(hard_limit().unwrap() > 0);
    }
}
