//! Warnings and errors of this process on their way into Redis, where the page `/errors` finds them.
//!
//! The log on standard error has all of them; this is a copy for who looks at a page. It never waits and never makes
//! trouble of its own: what is too much, or comes while Redis is away, is left out, and nothing is logged of that.

use std::{
    sync::{Mutex, PoisonError},
    time::{Instant, SystemTime},
};

use log::Level;
use tokio::sync::mpsc;

use crate::{
    queue::{Notice, Queue, QueueError},
    redis::RedisFailure,
};

/// So many notices a second are taken on average, and so many at once.
const RATE: f64 = 10.0;
/// So many wait for Redis.
const WAITING: usize = 64;
/// So much of a text is kept, in bytes.
const MOST_TEXT: usize = 1024;

/// What passes between the logger and the one who writes to Redis.
struct Taken {
    at: SystemTime,
    level: Level,
    text: String,
}

struct Intake {
    to: mpsc::Sender<Taken>,
    /// How many may be taken now.
    credit: f64,
    since: Instant,
    /// How many were left out since the last one that was taken.
    left_out: u64,
}

static INTAKE: Mutex<Option<Intake>> = Mutex::new(None);

/// Takes a line of the log, a warning or worse, if there is somebody to take it.
pub(crate) fn take(level: Level, text: &str) {
    // A panic while it was held left nothing half done.
    let mut intake = INTAKE.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(intake) = intake.as_mut() {
        intake.take(level, text, Instant::now());
    }
}

impl Intake {
    fn new(now: Instant) -> (Intake, mpsc::Receiver<Taken>) {
        let (to, from) = mpsc::channel(WAITING);
        (Intake { to, credit: RATE, since: now, left_out: 0 }, from)
    }

    fn take(&mut self, level: Level, text: &str, now: Instant) {
        let gone = now.saturating_duration_since(self.since).as_secs_f64();
        self.credit = (self.credit + gone * RATE).min(RATE);
        self.since = now;
        if self.credit < 1.0 {
            self.left_out += 1;
            return;
        }
        let mut text = cut(text);
        if self.left_out > 0 {
            text += &format!(
                " (and {} more just before, which are in the process's own log)",
                self.left_out
            );
        }
        match self.to.try_send(Taken { at: SystemTime::now(), level, text }) {
            Ok(()) => {
                self.credit -= 1.0;
                self.left_out = 0;
            }
            Err(_) => self.left_out += 1,
        }
    }
}

fn cut(text: &str) -> String {
    if text.len() <= MOST_TEXT {
        return text.to_owned();
    }
    let end = (0..=MOST_TEXT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    format!("{}…", &text[..end])
}

/// Takes this process's warnings and errors from now on; the future writes them into Redis for as long as it runs.
/// `queue`: with a connection of this runtime.
pub fn keep(queue: Queue, program: &'static str) -> impl Future<Output = ()> {
    let (intake, from) = Intake::new(Instant::now());
    *INTAKE.lock().unwrap_or_else(PoisonError::into_inner) = Some(intake);
    write(from, queue, program)
}

async fn write(mut from: mpsc::Receiver<Taken>, queue: Queue, program: &'static str) {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let mut taken = Vec::new();
    while from.recv_many(&mut taken, WAITING).await > 0 {
        let notice = |Taken { at, level, text }| Notice {
            at: humantime::format_rfc3339_millis(at).to_string(),
            host: host.trim().to_owned(),
            program: program.to_owned(),
            pid: std::process::id(),
            level: level.to_string(),
            text,
        };
        let notices: Vec<_> = taken.drain(..).map(notice).collect();
        // Nothing goes into a Redis that is set up for something else.
        let keep = async || {
            queue.check_server().await?;
            queue.keep_notices(&notices).await
        };
        // A connection that Redis closed meanwhile is found out by using it. Redis being away is told by those who need it.
        if let Err(QueueError::Redis(RedisFailure::Closed(_))) = keep().await {
            drop(keep().await);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn drain(from: &mut mpsc::Receiver<Taken>) -> Vec<String> {
        std::iter::from_fn(|| from.try_recv().ok()).map(|taken| taken.text).collect()
    }

    #[test]
    fn a_flood_of_lines_is_thinned_out_and_told() {
        let begin = Instant::now();
        let (mut intake, mut from) = Intake::new(begin);
        for n in 0..100 {
            intake.take(Level::Warn, &n.to_string(), begin);
        }
        assert_eq!(drain(&mut from).len(), 10);
        intake.take(Level::Error, "later", begin + Duration::from_millis(150));
        let told = drain(&mut from);
        assert_eq!(told.len(), 1);
        assert!(told[0].starts_with("later (and 90 more"), "{told:?}");
    }

    #[test]
    fn nothing_waits_where_nobody_reads() {
        let mut now = Instant::now();
        let (mut intake, mut from) = Intake::new(now);
        for _ in 0..1000 {
            now += Duration::from_millis(100);
            intake.take(Level::Warn, "x", now);
        }
        assert_eq!(drain(&mut from).len(), WAITING);
        assert_eq!(intake.left_out, 1000 - WAITING as u64);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(512)), "é".repeat(512));
        assert_eq!(cut(&format!("x{}", "é".repeat(512))), format!("x{}…", "é".repeat(511)));
    }
}
