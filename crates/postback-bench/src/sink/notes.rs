//! What the sink keeps of the requests it saw: counts, the printed lines and the journal.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{self, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use hyper::{HeaderMap, http::request::Parts};
use serde::Serialize;

/// Counts so far, and where requests are written down.
pub(super) struct Notes {
    print: bool,
    journal: Option<File>,
    counts: Counts,
    /// Hashes of the `webhook-id`s seen.
    ids: HashSet<u64>,
}

/// The answer to `GET /__count`.
#[derive(Debug, Default, Serialize)]
struct Counts {
    /// Connections accepted.
    connections: u64,
    /// Requests read, `/__count` left out.
    requests: u64,
    /// Different `webhook-id`s among them.
    ids: u64,
    /// Requests whose `webhook-id` had come before.
    repeats: u64,
    /// Requests by method.
    methods: BTreeMap<String, u64>,
}

/// One line of the journal.
#[derive(Debug, Serialize)]
struct Line<'a> {
    /// Microseconds since 1970.
    at_us: u128,
    /// Which of the sink's connections, from 1.
    connection: u64,
    method: &'a str,
    target: String,
    headers: BTreeMap<&'a str, String>,
    body: String,
}

impl Notes {
    /// Opens the journal, which is appended to.
    pub(super) fn open(print: bool, journal: Option<&Path>) -> anyhow::Result<Notes> {
        let append = |path: &Path| {
            File::options()
                .create(true)
                .append(true)
                .open(path)
                .with_context(|| format!("cannot open the journal {}", path.display()))
        };
        let journal = journal.map(append).transpose()?;
        Ok(Notes { print, journal, counts: Counts::default(), ids: HashSet::new() })
    }

    /// Counts a connection and gives it its number, from 1.
    pub(super) fn connection(&mut self) -> u64 {
        self.counts.connections += 1;
        self.counts.connections
    }

    /// The counts as JSON.
    pub(super) fn counts(&self) -> String {
        serde_json::json!(self.counts).to_string()
    }

    /// Counts a request and writes it down, before it is answered: who has the answer finds the line.
    pub(super) fn record(&mut self, connection: u64, head: &Parts, body: &[u8]) -> io::Result<()> {
        self.count(head);
        if self.print {
            // That nobody reads the output is no reason to answer wrongly.
            _ = writeln!(io::stdout().lock(), "{} {}", head.method, escaped(&head.uri.to_string()));
        }
        let Some(journal) = &mut self.journal else { return Ok(()) };
        let line = Line {
            at_us: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_micros(),
            connection,
            method: head.method.as_str(),
            target: head.uri.to_string(),
            headers: texts(&head.headers),
            body: String::from_utf8_lossy(body).into_owned(),
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        // One write a line, so that a reader never sees half of one.
        journal.write_all(&text)
    }

    fn count(&mut self, head: &Parts) {
        self.counts.requests += 1;
        *self.counts.methods.entry(head.method.to_string()).or_default() += 1;
        if let Some(id) = head.headers.get("webhook-id") {
            let mut hasher = DefaultHasher::new();
            id.hash(&mut hasher);
            if self.ids.insert(hasher.finish()) {
                self.counts.ids += 1;
            } else {
                self.counts.repeats += 1;
            }
        }
    }
}

/// Header texts by name; of a repeated header the last.
fn texts(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    headers.iter().map(|(name, value)| (name.as_str(), text(value.as_bytes()))).collect()
}

/// The text with control characters as `\u{..}`, so that a line stays a line.
fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut out, c| {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        let check = |text: &str, expect: &str| assert_eq!(escaped(text), expect);
        check("/data?a=%20b", "/data?a=%20b");
        check("/a\u{1b}[2J", "/a\\u{1b}[2J");
        check("/a\r\nb", "/a\\r\\nb");
        check("/é", "/é");
    }
}
