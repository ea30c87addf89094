//! The daemons' log: one line an entry on standard error, as text or as JSON. What clients and partners sent cannot break
//! or colour a line.

use std::{io::Write, time::SystemTime};

use clap::ValueEnum;
use env_logger::{Builder, Env};
use log::Level;

use crate::{
    daemon_log,
    inert::{self, moves},
};

/// Our own `info` and the libraries' `warn`; but not each client that sends no HTTP or goes away, which are errors to
/// actix-http.
const DEFAULT: &str = "warn,ingest=info,deliver=info,postback_core=info,actix_http::h1=off";

/// How an entry is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// Time, level and what there is to say.
    #[default]
    Text,
    /// An object with `time`, `level`, `target` and `message`.
    Json,
}

/// Starts logging at the level of `RUST_LOG`, or by default. As JSON a panic is an entry too.
pub fn start(format: LogFormat) {
    Builder::from_env(Env::default().default_filter_or(DEFAULT))
        .format(move |out, record| {
            let (time, said) = (out.timestamp_millis(), record.args().to_string());
            if record.level() <= Level::Warn {
                daemon_log::take(record.level(), &escape(&said));
            }
            match format {
                LogFormat::Text => writeln!(out, "{time} {} {}", record.level(), escape(&said)),
                LogFormat::Json => {
                    writeln!(out, "{}", json(&time, record.level(), record.target(), &said))
                }
            }
        })
        .init();
    if format == LogFormat::Json {
        // Not by way of the log: RUST_LOG may leave out what is of no module of ours.
        std::panic::set_hook(Box::new(|panic| {
            let time = humantime::format_rfc3339_millis(SystemTime::now());
            let entry = json(&time, Level::Error, "panic", &panic.to_string());
            _ = writeln!(std::io::stderr(), "{entry}");
        }));
    }
}

fn json(time: &impl ToString, level: Level, target: &str, said: &str) -> String {
    let entry = serde_json::json!({
        "time": time.to_string(),
        "level": level.as_str(),
        "target": target,
        "message": said,
    });
    inert::json(&entry.to_string())
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if moves(c) => out.extend(c.escape_default()),
            _ => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "a\r\nb\x1b[31m\u{85}\u{2028}é\"";

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(escape(SAID), "a\\r\\nb\\u{1b}[31m\\u{85}\\u{2028}é\"");
    }

    #[test]
    fn a_line_of_json_stays_one_line_and_has_all() {
        let line = json(&"2026-11-24T16:00:00.000Z", Level::Warn, "deliver::run", SAID);
        assert!(!line.contains(moves), "{line:?}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        let expected = serde_json::json!({
            "time": "2026-11-24T16:00:00.000Z",
            "level": "WARN",
            "target": "deliver::run",
            "message": SAID,
        });
        assert_eq!(read, expected);
    }
}
