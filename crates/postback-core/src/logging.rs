//! The daemons' log: one line an entry on standard error. What clients and partners sent cannot break or colour a line.

use std::io::Write;

use env_logger::{Builder, Env};

/// Starts logging at the level of `RUST_LOG`; by default our own `info` and the libraries' `warn`.
pub fn start() {
    let default = "warn,ingest=info,deliver=info,postback_core=info";
    Builder::from_env(Env::default().default_filter_or(default))
        .format(|out, record| {
            let text = escape(&record.args().to_string());
            writeln!(out, "{} {} {text}", out.timestamp_millis(), record.level())
        })
        .init();
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.extend(c.escape_default());
            }
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
