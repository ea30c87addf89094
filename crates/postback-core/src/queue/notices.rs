//! The latest warnings and errors of the daemons themselves, in one stream of bounded length.

use std::collections::HashMap;

use serde::Serialize;

use super::{Queue, QueueError};

/// So many are kept, about.
const KEPT: usize = 1000;

/// A line of a daemon's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notice {
    /// When, by the box's own clock; RFC 3339, UTC.
    pub at: String,
    /// The box.
    #[serde(rename = "box")]
    pub host: String,
    /// `ingest` or `deliver`.
    pub program: String,
    /// The process.
    pub pid: u32,
    /// `WARN` or `ERROR`.
    pub level: String,
    /// What it said.
    pub text: String,
}

impl Queue {
    /// Keeps a few notices, and forgets the oldest ones.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn keep_notices(&self, notices: &[Notice]) -> Result<(), QueueError> {
        let mut add = redis::pipe();
        for Notice { at, host, program, pid, level, text } in notices {
            add.cmd("XADD").arg(self.shards[0].key("daemon_log"));
            add.arg("MAXLEN").arg("~").arg(KEPT).arg("*");
            add.arg("at").arg(at).arg("box").arg(host).arg("program").arg(program);
            add.arg("pid").arg(*pid).arg("level").arg(level).arg("text").arg(text).ignore();
        }
        Ok(self.link.run_all(&add).await?)
    }

    /// The latest notices, at most `most`, newest first.
    ///
    /// # Errors
    /// When Redis fails.
    pub async fn notices(&self, most: usize) -> Result<Vec<Notice>, QueueError> {
        let mut ask = redis::cmd("XREVRANGE");
        ask.arg(self.shards[0].key("daemon_log")).arg("+").arg("-").arg("COUNT").arg(most);
        let found: Vec<(String, HashMap<String, String>)> = self.link.run(&ask).await?;
        let notice = |(_, mut fields): (String, HashMap<String, String>)| {
            let mut take = |name| fields.remove(name).unwrap_or_default();
            Notice {
                at: take("at"),
                host: take("box"),
                program: take("program"),
                pid: take("pid").parse().unwrap_or_default(),
                level: take("level"),
                text: take("text"),
            }
        };
        Ok(found.into_iter().map(notice).collect())
    }
}
