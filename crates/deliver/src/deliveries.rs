//! `--log-deliveries`: one JSON line on standard output for each attempt, and each death without one.
//!
//! Whoever reads standard output may be slow, stuck or gone, and none of it may hold up a delivery: a thread writes, the
//! event loop hands it what has gathered in 10 ms. What it cannot take is left out, counted, and told once in the log; the
//! delivery log in Redis has it all the same.

use std::{
    cell::{Cell, RefCell},
    io::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, SystemTime},
};

use postback_core::{queue::Record, view::line};
use tokio::{sync::Notify, time::sleep};

/// Lines wait for others at most so long, and at most so many bytes of them.
const EVERY: Duration = Duration::from_millis(10);
const MOST: usize = 64 * 1024;
/// So many pieces wait for the thread: 8 MiB and the lines that went beyond a piece.
const PIECES: usize = 128;
/// A pipe takes so many bytes at once without mixing them with another's (PIPE_BUF, pipe(7)): standard error may lead into the
/// same.
const AT_ONCE: usize = 4096;
/// How long the last lines may take at the end.
const LAST: Duration = Duration::from_secs(1);

/// The lines on their way to standard output.
pub(crate) struct Deliveries {
    piece: RefCell<Piece>,
    /// `None`: it is over.
    pieces: RefCell<Option<SyncSender<Piece>>>,
    /// Closed when the thread has ended.
    ended: Receiver<()>,
    lost: Arc<AtomicU64>,
    told: Cell<bool>,
    news: Notify,
}

/// Whole lines.
#[derive(Default)]
struct Piece {
    text: Vec<u8>,
    lines: u64,
}

impl Deliveries {
    /// Starts the thread.
    pub(crate) fn new() -> Deliveries {
        let (pieces, received) = sync_channel(PIECES);
        let (end, ended) = sync_channel::<()>(0);
        let lost = Arc::new(AtomicU64::new(0));
        let counter = lost.clone();
        thread::spawn(move || {
            write(&received, &counter);
            drop(end);
        });
        Deliveries {
            piece: RefCell::default(),
            pieces: RefCell::new(Some(pieces)),
            ended,
            lost,
            told: Cell::new(false),
            news: Notify::new(),
        }
    }

    /// Takes a line of what was recorded.
    pub(crate) fn note(&self, record: &Record) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut piece = self.piece.borrow_mut();
        if piece.lines == 0 {
            self.news.notify_one();
        }
        piece.text.extend_from_slice(line(record, now.as_millis() as u64).as_bytes());
        piece.lines += 1;
        let is_full = piece.text.len() >= MOST;
        drop(piece);
        if is_full {
            self.flush();
        }
    }

    /// Hands on what has gathered, for as long as the process lives.
    pub(crate) async fn flush_loop(&self) {
        loop {
            self.news.notified().await;
            sleep(EVERY).await;
            self.flush();
        }
    }

    fn flush(&self) {
        let piece = self.piece.take();
        if let (1.., Some(pieces)) = (piece.lines, &*self.pieces.borrow())
            && let Err(TrySendError::Full(piece) | TrySendError::Disconnected(piece)) =
                pieces.try_send(piece)
        {
            self.lost.fetch_add(piece.lines, Relaxed);
        }
        if self.lost.load(Relaxed) > 0 && !self.told.replace(true) {
            log::error!(
                "standard output does not take the lines of --log-deliveries: some are left out; sending goes on"
            );
        }
    }

    /// Waits a moment for the last lines, and tells how many were left out.
    pub(crate) fn finish(&self) {
        self.flush();
        drop(self.pieces.take());
        if self.ended.recv_timeout(LAST) == Err(RecvTimeoutError::Timeout) {
            log::error!("standard output did not take the last lines of --log-deliveries");
        }
        let lost = self.lost.load(Relaxed);
        if lost > 0 {
            log::error!("{lost} lines of --log-deliveries were left out in all");
        }
    }
}

/// Writes pieces until there are to be no more.
fn write(pieces: &Receiver<Piece>, lost: &AtomicU64) {
    let mut is_torn = false;
    while let Ok(mut piece) = pieces.recv() {
        if is_torn {
            piece.text.insert(0, b'\n'); // a line that was cut off ends
        }
        let mut out = std::io::stdout().lock();
        let written = portions(&piece.text).try_for_each(|portion| out.write_all(portion));
        is_torn = written.and_then(|()| out.flush()).is_err();
        if is_torn {
            lost.fetch_add(piece.lines, Relaxed);
        }
    }
}

/// Whole lines, together at most [`AT_ONCE`] bytes or a longer one alone.
fn portions(mut text: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let head = &text[..text.len().min(AT_ONCE)];
        let last = head.iter().rposition(|byte| *byte == b'\n');
        let end = last.or_else(|| text.iter().position(|byte| *byte == b'\n'));
        let (portion, rest) = text.split_at(end.map_or(text.len(), |end| end + 1));
        text = rest;
        (!portion.is_empty()).then_some(portion)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn portions_are_whole_lines_of_which_a_pipe_takes_many_at_once() {
        let line = |n: usize| [vec![b'x'; n - 1], vec![b'\n']].concat();
        let check = |lines: &[usize], expect: &[usize]| {
            let text = lines.iter().map(|n| line(*n)).collect::<Vec<_>>().concat();
            let got: Vec<_> = portions(&text).map(<[u8]>::len).collect();
            assert_eq!(got, expect, "{lines:?}");
        };
        check(&[], &[]);
        check(&[10, 20], &[30]);
        check(&[4096, 1], &[4096, 1]);
        check(&[4000, 96, 5], &[4096, 5]);
        check(&[4000, 97, 5], &[4000, 102]);
        check(&[5, 9000, 5, 5], &[5, 9000, 10]);
    }
}
