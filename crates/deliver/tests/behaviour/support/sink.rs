//! The sink as a process, and what it saw.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use super::program;

/// A request as the partner saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// Microseconds since 1970.
    pub(crate) at_us: u64,
    /// Which of the sink's connections, from 1.
    pub(crate) connection: u64,
    pub(crate) target: String,
    pub(crate) headers: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn id(&self) -> &str {
        self.headers.get("webhook-id").map_or("", String::as_str)
    }
}

pub(crate) struct Sink {
    pub(crate) port: u16,
    child: Child,
    journal: PathBuf,
}

impl Sink {
    /// Starts one whose journal is a file of this name in `folder`.
    pub(crate) fn start(folder: &Path, name: &str, options: &[&str]) -> Sink {
        Sink::run(folder, name, &[&["--listen", "127.0.0.1:0"], options].concat())
    }

    /// The same at a certain address.
    pub(crate) fn start_at(folder: &Path, name: &str, address: &str) -> Sink {
        Sink::run(folder, name, &["--listen", address])
    }

    fn run(folder: &Path, name: &str, options: &[&str]) -> Sink {
        let journal = folder.join(format!("{name}.journal"));
        let mut child = program("postback-bench")
            .args(["sink", "--journal"])
            .arg(&journal)
            .args(options)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the sink starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped"))
            .read_line(&mut line)
            .expect("its first line");
        let port =
            line.trim().rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
        Sink { port, child, journal }
    }

    /// What it saw, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let text = std::fs::read_to_string(&self.journal).unwrap_or_default();
        // The sink may be writing: what has no newline yet is not a line.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(seen).collect()
    }
}

fn seen(line: &str) -> Seen {
    let line: serde_json::Value = serde_json::from_str(line).expect("a journal line");
    let number = |name: &str| line[name].as_u64().expect("a number");
    let headers = line["headers"].as_object().expect("headers");
    let headers =
        headers.iter().map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned()));
    Seen {
        at_us: number("at_us"),
        connection: number("connection"),
        target: line["target"].as_str().unwrap_or_default().to_owned(),
        headers: headers.collect(),
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
