//! Which rows arrived, and when: read from the sink's journal.
//!
//! The journal and not a receiver of our own: at 600 requests/s it costs the sink a few hundredths of a core, and
//! what is measured is then the same sink that users and tests have. The sink notes the time after it read the
//! request and before it answers, on the clock of the same machine that the rows' `{at}` came from.

use std::{
    collections::{HashMap, hash_map::Entry},
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::Deserialize;

/// How often the journal is looked at while rows are waited for.
const LOOK: Duration = Duration::from_millis(200);

/// The rows of one path that arrived.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// By `n`: when it arrived first, microseconds since 1970.
    pub(super) at: HashMap<u64, u64>,
    /// From enqueue to the first arrival, microseconds, sorted.
    pub(super) waits: Vec<u64>,
    /// Rows that arrived again.
    pub(super) repeats: u64,
    /// Requests with other paths.
    pub(super) others: u64,
}

#[derive(Deserialize)]
struct Line<'a> {
    at_us: u64,
    #[serde(borrow)]
    target: std::borrow::Cow<'a, str>,
}

impl Arrivals {
    /// Reads the arrivals at `path` from a journal.
    pub(super) fn read(journal: &Path, path: &str) -> anyhow::Result<Arrivals> {
        let text = fs::read_to_string(journal)
            .with_context(|| format!("cannot read the journal {}", journal.display()))?;
        // The sink may be writing: what has no newline yet is not a line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let mut arrivals = Arrivals::default();
        for line in whole.lines() {
            arrivals.take_in(&serde_json::from_str(line)?, path);
        }
        arrivals.waits.sort_unstable();
        Ok(arrivals)
    }

    /// Reads them when all `rows` are there, or at the end of the time.
    pub(super) async fn wait(
        journal: &Path,
        path: &str,
        rows: u64,
        within: Duration,
    ) -> anyhow::Result<Arrivals> {
        let since = Instant::now();
        loop {
            let arrivals = Arrivals::read(journal, path)?;
            if arrivals.at.len() as u64 >= rows || since.elapsed() > within {
                return Ok(arrivals);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn take_in(&mut self, line: &Line<'_>, path: &str) {
        let Some((n, sent_at)) = values(&line.target, path) else {
            self.others += 1;
            return;
        };
        if let Entry::Vacant(new) = self.at.entry(n) {
            new.insert(line.at_us);
            self.waits.push(line.at_us.saturating_sub(sent_at));
        } else {
            self.repeats += 1;
        }
    }
}

/// `n` and `at` of a target `PATH?n=…&at=…`.
fn values(target: &str, path: &str) -> Option<(u64, u64)> {
    let query = target.strip_prefix(path)?.strip_prefix("?n=")?;
    let (n, at) = query.split_once("&at=")?;
    Some((n.parse().ok()?, at.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rows_of_the_path_count_and_each_once() {
        let mut arrivals = Arrivals::default();
        for (at_us, target) in [
            (50, "/h?n=1&at=20"),
            (90, "/h?n=1&at=20"),
            (95, "/slow/5?n=1&at=2"),
            (99, "/hx?n=3&at=1"),
        ] {
            arrivals.take_in(&Line { at_us, target: target.into() }, "/h");
        }
        assert_eq!((arrivals.waits, arrivals.repeats, arrivals.others), (vec![30], 1, 2));
        assert_eq!(arrivals.at, HashMap::from([(1, 50)]));
    }
}
