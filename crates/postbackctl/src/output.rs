//! Text or JSON on standard output, with nothing in it that could move a terminal's cursor; progress on standard error.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use postback_core::inert;
use serde::Serialize;

/// Where a command writes.
pub(crate) struct Output {
    json: bool,
    out: io::BufWriter<io::Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        Output { json, out: io::BufWriter::new(io::stdout()) }
    }

    /// Whether a JSON document is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Writes one document.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(document).context("cannot write as JSON")?;
        writeln!(self.out, "{}", inert::json(&text))?;
        self.out.flush().context("cannot write to standard output")
    }

    /// Writes a line; control characters of the text are escaped.
    pub(crate) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        let inert: String = text.chars().flat_map(escape).collect();
        writeln!(self.out, "{inert}")?;
        self.out.flush().context("cannot write to standard output")
    }

    /// Writes rows of equal length as columns.
    pub(crate) fn table(&mut self, rows: &[Vec<String>]) -> anyhow::Result<()> {
        let columns = rows.first().map_or(0, Vec::len);
        let width =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for row in rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            self.line(cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

fn escape(c: char) -> impl Iterator<Item = char> {
    let (escaped, kept) =
        if inert::moves(c) { (Some(c.escape_unicode()), None) } else { (None, Some(c)) };
    escaped.into_iter().flatten().chain(kept)
}

/// A line on standard error that tells how far long work is: on a terminal always the same line, elsewhere one now
/// and then.
pub(crate) struct Progress {
    shown: Instant,
    every: Duration,
    is_terminal: bool,
    /// Whether the terminal's line must be ended.
    is_open: bool,
}

impl Progress {
    pub(crate) fn new() -> Progress {
        let is_terminal = io::stderr().is_terminal();
        let every = if is_terminal { Duration::from_millis(500) } else { Duration::from_secs(10) };
        Progress { shown: Instant::now(), every, is_terminal, is_open: false }
    }

    pub(crate) fn show(&mut self, text: impl FnOnce() -> String) {
        if self.shown.elapsed() < self.every {
            return;
        }
        self.shown = Instant::now();
        self.is_open = self.is_terminal;
        // Nobody misses it where standard error is closed.
        _ = if self.is_terminal {
            write!(io::stderr(), "\r{}\x1b[K", text())
        } else {
            writeln!(io::stderr(), "{}", text())
        };
    }

    pub(crate) fn end(&mut self) {
        if std::mem::take(&mut self.is_open) {
            _ = writeln!(io::stderr());
        }
    }
}

/// Whether the reader went away, as `head` does: no failure of ours.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_moves_the_cursor() {
        let inert: String = "a\u{1b}[2J\r\nb\u{202e}é".chars().flat_map(escape).collect();
        assert_eq!(inert, "a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}é");
    }
}
