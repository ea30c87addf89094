//! The daemons' log: one line an entry on standard error, as text or as JSON. What clients and partners sent cannot break
//! or colour a line.

use std::io::Write;

use clap::ValueEnum;
use env_logger::{Builder, Env};
use log::Record;

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
            daemon_log::take(record.level(), &escape(&record.args().to_string()));
            let time = out.timestamp_millis();
            match format {
                LogFormat::Text => writeln!(out, "{}", text(&time, record)),
                LogFormat::Json => writeln!(out, "{}", json(&time, record)),
            }
        })
        .init();
    if format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| log::error!(target: "panic", "{panic}")));
    }
}

fn text(time: &impl ToString, record: &Record<'_>) -> String {
    let said = escape(&record.args().to_string());
    format!("{} {} {said}", time.to_string(), record.level())
}

fn json(time: &impl ToString, record: &Record<'_>) -> String {
    let entry = serde_json::json!({
        "time": time.to_string(),
        "level": record.level().as_str(),
        "target": record.target(),
        "message": record.args().to_string(),
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
    use log::Level;

    use super::*;

    const SAID: &str = "a\r\nb\x1b[31m\u{85}\u{2028}é\"";

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(escape(SAID), "a\\r\\nb\\u{1b}[31m\\u{85}\\u{2028}é\"");
    }

    #[test]
    fn a_line_of_json_stays_one_line_and_has_all() {
        let args = format_args!("{SAID}");
        let record = Record::builder().level(Level::Warn).target("deliver::run").args(args).build();
        let line = json(&"2026-11-24T16:00:00.000Z", &record);
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
