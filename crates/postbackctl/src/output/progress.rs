//! How far long work is, on standard error.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// A line on standard error that tells how far long work is: on a terminal always the same line, elsewhere one now
/// and then.
pub(crate) struct Progress {
    begun: Instant,
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
        let now = Instant::now();
        Progress { begun: now, shown: now, every, is_terminal, is_open: false }
    }

    /// Tells how many `things` are done, of how many where that is known, and how many a second.
    pub(crate) fn show(&mut self, done: u64, of: Option<u64>, things: &str) {
        if self.shown.elapsed() < self.every {
            return;
        }
        self.shown = Instant::now();
        self.is_open = self.is_terminal;
        let rate = done as f64 / self.begun.elapsed().as_secs_f64();
        let of = of.map(|all| format!(" of {all}")).unwrap_or_default();
        let text = format!("{done}{of} {things}, {rate:.0}/s");
        // Nobody misses it where standard error is closed.
        _ = if self.is_terminal {
            write!(io::stderr(), "\r{text}\x1b[K")
        } else {
            writeln!(io::stderr(), "{text}")
        };
    }

    /// Ends a piece of work; the next one's rate begins anew.
    pub(crate) fn end(&mut self) {
        self.begun = Instant::now();
        if std::mem::take(&mut self.is_open) {
            _ = writeln!(io::stderr());
        }
    }
}
