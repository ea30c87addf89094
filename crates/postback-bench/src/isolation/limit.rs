//! Trial `limit`: a host limited to 5 rows/s is served at that rate by three deliver processes together.
//!
//! Half of the rows come as one request, which one process takes whole; the others come one by one, and the
//! processes take turns.

use std::{process::Command, time::Duration};

use anyhow::Context;

use super::{
    Sizes,
    arrivals::Arrivals,
    feed::Partner,
    stack::{Plan, Stack, beside},
    table::{Figure, digits},
};

/// Rows a second that the host is limited to.
const RATE: u64 = 5;
const PROCESSES: usize = 3;
const PATH: &str = "/limited";
const SECOND: u64 = 1_000_000;
/// What the way from a process to the sink may add or take from the time between two rows, microseconds.
const JITTER: u64 = 50_000;

/// Limits the host, sends the rows and makes figures of their arrivals.
pub(super) async fn run(sizes: &Sizes) -> anyhow::Result<Vec<Figure>> {
    let rows = sizes.limit_rows;
    let mut stack = Stack::start(&Plan { journal: true, ..Plan::default() })?;
    for _ in 0..PROCESSES {
        stack.deliver(&[]).await?;
    }
    limit(&stack, &format!("127.0.0.1:{}", stack.port))?;
    let queue = stack.queue()?;
    let partner = Partner::new([127, 0, 0, 1].into(), stack.port, PATH);
    partner.enqueue(&queue, 0..rows / 2).await?;
    for n in rows / 2..rows {
        partner.enqueue(&queue, n..n + 1).await?;
    }
    let patience = Duration::from_secs(2 * rows / RATE + 10);
    let arrivals = Arrivals::wait(&stack.journal, PATH, rows, patience).await?;
    let mut at: Vec<u64> = arrivals.at.into_values().collect();
    at.sort_unstable();
    Ok(figures(rows, &at, arrivals.repeats))
}

fn limit(stack: &Stack, host: &str) -> anyhow::Result<()> {
    let output = Command::new(beside("postbackctl")?)
        .args(["limit", host, "5/s"])
        .env("REDIS_URL", stack.redis.url_text())
        .output()
        .context("cannot run postbackctl")?;
    let error = String::from_utf8_lossy(&output.stderr);
    let error = error.lines().next().unwrap_or_default();
    anyhow::ensure!(output.status.success(), "postbackctl limit {host} 5/s failed: {error}");
    Ok(())
}

fn figures(rows: u64, at: &[u64], repeats: u64) -> Vec<Figure> {
    let took = at.last().zip(at.first()).map_or(0, |(last, first)| last - first);
    let rate = (at.len() as f64 - 1.0).max(0.0) * SECOND as f64 / took.max(1) as f64;
    let (most, strict) = (most_within(at, SECOND), most_within(at, SECOND - JITTER));
    let gap = at.windows(2).map(|two| two[1] - two[0]).max().unwrap_or(0);
    let six = at.windows(RATE as usize + 1).map(|six| six[6 - 1] - six[0]).min().unwrap_or(0);
    vec![
        Figure::new("rate over the whole run, limit 5/s, 3 processes", digits(rate, 2), "rows/s")
            .goal("5 +- 5 %", (rate - 5.0).abs() <= 0.25),
        Figure::new("most arrivals in any 1 s", most, "rows"),
        Figure::new("most arrivals in any 0.95 s (1 s less jitter)", strict, "rows")
            .goal("<= 5", strict <= RATE as usize),
        Figure::new("shortest time of six arrivals in a row", six / 1000, "ms"),
        Figure::new("longest time between two arrivals", gap / 1000, "ms"),
        Figure::new(
            "rows sent, arrived, repeated",
            format!("{rows}, {}, {repeats}", at.len()),
            "rows",
        )
        .goal("each once", at.len() as u64 == rows && repeats == 0),
    ]
}

/// The most of the sorted instants that lie in any half-open span of this length.
fn most_within(sorted: &[u64], span: u64) -> usize {
    let from = |(n, at): (usize, &u64)| sorted.partition_point(|other| *other < at + span) - n;
    sorted.iter().enumerate().map(from).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sliding_window_holds_what_came_within_its_length() {
        let check = |at: &[u64], expect| assert_eq!(most_within(at, 10), expect, "{at:?}");
        check(&[], 0);
        check(&[5], 1);
        check(&[0, 10, 20], 1);
        check(&[0, 5, 9, 10, 14, 15], 4);
    }
}
