//! The daemons' log: one line an entry on standard error. What clients and partners sent cannot break or colour a line.

use std::io::Write;

use env_logger::{Builder, Env};

use crate::{daemon_log, inert::moves};

/// Our own `info` and the libraries' `warn`; but not each client that sends no HTTP or goes away, which are errors to
/// actix-http.
const DEFAULT: &str = "warn,ingest=info,deliver=info,postback_core=info,actix_http::h1=off";

/// Starts logging at the level of `RUST_LOG`, or by default.
pub fn start() {
    Builder::from_env(Env::default().default_filter_or(DEFAULT))
        .format(|out, record| {
            let text = escape(&record.args().to_string());
            daemon_log::take(record.level(), &text);
            writeln!(out, "{} {} {text}", out.timestamp_millis(), record.level())
        })
        .init();
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

    #[test]
    fn a_line_stays_one_line() {
        assert_eq!(escape("a\r\nb\x1b[31m\u{85}\u{2028}é"), r"a\r\nb\u{1b}[31m\u{85}\u{2028}é");
    }
}
