//! Text or JSON on standard output, with nothing in it that could move a terminal's cursor. Tables are in `table.rs`,
//! what long work tells meanwhile in `progress.rs`.

use std::{
    env,
    io::{self, IsTerminal, Write},
};

use anyhow::Context as _;
use postback_core::inert;
use serde::Serialize;

mod progress;
mod table;

pub(crate) use self::{
    progress::Progress,
    table::{Column, Table},
};

/// How wide a terminal is that does not say so.
const USUAL_WIDTH: usize = 80;

/// Where a command writes.
pub(crate) struct Output {
    json: bool,
    /// The terminal's columns; `None`: it is a file or a pipe, and nothing is cut.
    width: Option<usize>,
    out: io::BufWriter<io::Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Output {
        let out = io::stdout();
        let width = out.is_terminal().then(|| terminal_width(&out));
        Output { json, width, out: io::BufWriter::new(out) }
    }

    /// Whether a JSON document is wanted.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Whether somebody looks at it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.width.is_some()
    }

    /// Writes one document.
    pub(crate) fn document(&mut self, document: &impl Serialize) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(document).context("cannot write as JSON")?;
        writeln!(self.out, "{}", inert::json(&text))?;
        self.flush()
    }

    /// Writes a line; control characters of the text are escaped.
    pub(crate) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        writeln!(self.out, "{}", escaped(text)).context("cannot write to standard output")
    }

    /// Writes rows as columns, no wider than the terminal.
    pub(crate) fn table(&mut self, table: &Table) -> anyhow::Result<()> {
        table.lines(self.width).iter().try_for_each(|line| self.line(line))
    }

    /// Writes what our own code made, a script or a page of a manual, as it is.
    pub(crate) fn raw(&mut self, text: &[u8]) -> anyhow::Result<()> {
        self.out.write_all(text).context("cannot write to standard output")
    }

    /// Begins a screen anew; on a terminal in the place of the one before, elsewhere below it.
    pub(crate) fn next_screen(&mut self) -> anyhow::Result<()> {
        self.raw(if self.is_terminal() { b"\x1b[H\x1b[2J" } else { b"\n" })
    }

    /// Hands on all that was written.
    pub(crate) fn flush(&mut self) -> anyhow::Result<()> {
        self.out.flush().context("cannot write to standard output")
    }
}

/// Says something on standard error; nobody misses it where that is closed.
pub(crate) fn tell(text: &str) {
    _ = writeln!(io::stderr(), "{text}");
}

/// The width that the terminal tells, or `COLUMNS`.
fn terminal_width(out: &io::Stdout) -> usize {
    let told = terminal_size::terminal_size_of(out).map(|(width, _)| usize::from(width.0));
    let columns = || env::var("COLUMNS").ok()?.parse().ok().filter(|width| *width > 0);
    told.or_else(columns).unwrap_or(USUAL_WIDTH)
}

/// A text with all escaped that would move a cursor.
fn escaped(text: &str) -> String {
    let mut inert = String::with_capacity(text.len());
    for c in text.chars() {
        if inert::moves(c) { inert.extend(c.escape_unicode()) } else { inert.push(c) }
    }
    inert
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
        let text = "a\u{1b}[2J\r\nb\u{202e}é";
        assert_eq!(escaped(text), "a\\u{1b}[2J\\u{d}\\u{a}b\\u{202e}é");
    }
}
