//! A client's connection, under actix-http: the time limits that it lacks, and a problem in place of the empty answers that
//! it gives to what it cannot read. No request that actix-http refuses reaches our routes.

mod bare;

use std::{
    cell::Cell,
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use actix_web::dev::{Payload, ServiceRequest};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

/// How long a client may take to send a head, from its first byte (or the connection's opening) to its last.
const HEAD_TIME: Duration = Duration::from_secs(10);
/// Above nginx's 60 s, so that it is nginx that closes a quiet connection: one that ingest closes just as nginx
/// writes a request into it costs that request.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// How long a client may take to take an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How much is read before it is looked at: actix-http would fill 128 KiB for each connection, and keep them.
const READ_AT_ONCE: usize = 16 * 1024;
/// How long what a refused client still sends is read and thrown away: a connection closed with unread bytes is reset,
/// and the answer may be lost with it.
const LINGER: Duration = Duration::from_secs(1);

/// What is under way on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing: no byte of a request.
    Quiet,
    /// A head is coming.
    Head,
    /// A request is being answered. Its body has a limit of its own.
    Request { body_is_read: bool },
    /// There is an answer, which is the last: the client wants it so, or did not send a body that would have to be read to
    /// tell a further request from it.
    Last,
}

/// What a connection and the request on it know of each other.
#[derive(Debug)]
pub(crate) struct Watch {
    phase: Cell<Phase>,
    /// When the phase must be over; of no meaning in [`Phase::Request`].
    until: Cell<Instant>,
}

impl Watch {
    fn new() -> Watch {
        Watch { phase: Cell::new(Phase::Quiet), until: Cell::new(Instant::now() + HEAD_TIME) }
    }

    fn enter(&self, phase: Phase, time: Duration) {
        self.phase.set(phase);
        self.until.set(Instant::now() + time);
    }

    /// That of a request's connection.
    pub(crate) fn of(request: &ServiceRequest) -> Option<Rc<Watch>> {
        request.conn_data().cloned()
    }

    /// A request has been read up to its body. False where the answer before it was the last one.
    pub(crate) fn begins(&self, request: &ServiceRequest) -> bool {
        let has_body = !matches!(request.parts().1, Payload::None);
        let is_open = self.phase.get() != Phase::Last;
        if is_open {
            self.phase.set(Phase::Request { body_is_read: !has_body });
        }
        is_open
    }

    /// The next byte is another request's.
    pub(crate) fn body_is_read(&self) {
        self.phase.set(Phase::Request { body_is_read: true });
    }

    /// The request's answer is ready; whether it is the last one.
    pub(crate) fn is_answered(&self, closes: bool) -> bool {
        let is_last = closes || self.phase.get() != (Phase::Request { body_is_read: true });
        match is_last {
            true => self.enter(Phase::Last, LINGER),
            false => self.enter(Phase::Quiet, KEEP_ALIVE),
        }
        is_last
    }

    fn has_heard(&self) {
        if self.phase.get() == Phase::Quiet {
            self.phase.set(Phase::Head);
            self.until.set(self.until.get().min(Instant::now() + HEAD_TIME));
        }
    }

    fn deadline(&self) -> Option<Instant> {
        (!matches!(self.phase.get(), Phase::Request { .. })).then(|| self.until.get())
    }
}

/// A socket, and what is to be seen to on it.
pub(crate) struct Connection<S> {
    socket: S,
    watch: Rc<Watch>,
    /// Set to the deadline or, since most requests come long before it, to an earlier one.
    timer: Pin<Box<Sleep>>,
    /// Since when an answer waits for the client to take it: set while it does.
    blocked: Option<Pin<Box<Sleep>>>,
    /// How much has been read that was not looked at yet.
    taken: usize,
    farewell: Option<Farewell>,
}

/// The end of a connection: what is left to write, then a while of reading.
struct Farewell {
    answer: Vec<u8>,
    written: usize,
    is_shut: bool,
    is_over: bool,
    until: Pin<Box<Sleep>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) fn new(socket: S) -> Connection<S> {
        let watch = Rc::new(Watch::new());
        let timer = Box::pin(sleep_until(watch.until.get()));
        Connection { socket, watch, timer, blocked: None, taken: 0, farewell: None }
    }

    /// For the requests on it.
    pub(crate) fn watch(&self) -> Rc<Watch> {
        self.watch.clone()
    }

    /// Whether the phase has taken too long; otherwise sees to it that this is asked again when it has.
    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.watch.deadline() else { return false };
        loop {
            if deadline <= Instant::now() {
                return true;
            }
            if self.timer.is_elapsed() || deadline < self.timer.deadline() {
                self.timer.as_mut().reset(deadline);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return false;
            }
        }
    }

    fn part(&mut self, answer: Vec<u8>) {
        let until = Box::pin(tokio::time::sleep(LINGER));
        let fresh = Farewell { answer, written: 0, is_shut: false, is_over: false, until };
        self.farewell.get_or_insert(fresh);
    }

    /// Writes what the socket takes, for as long as an answer may take.
    fn write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.socket).poll_write(cx, bytes);
        if written.is_pending() {
            let time = || Box::pin(tokio::time::sleep(ANSWER_TIME));
            if self.blocked.get_or_insert_with(time).as_mut().poll(cx).is_ready() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
        }
        written
    }

    /// Ready when the connection can be dropped.
    fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(farewell) = &mut self.farewell else { return Poll::Ready(Ok(())) };
        farewell.is_over |= farewell.until.as_mut().poll(cx).is_ready();
        let mut socket = Pin::new(&mut self.socket);
        while !farewell.is_over {
            if farewell.written < farewell.answer.len() {
                let rest = &farewell.answer[farewell.written..];
                farewell.written += ready!(socket.as_mut().poll_write(cx, rest))?;
            } else if !farewell.is_shut {
                ready!(socket.as_mut().poll_shutdown(cx))?;
                farewell.is_shut = true;
            } else {
                let mut thrown_away = [0; 4096];
                let mut buffer = ReadBuf::new(&mut thrown_away);
                ready!(socket.as_mut().poll_read(cx, &mut buffer))?;
                farewell.is_over = buffer.filled().is_empty();
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Connection<S> {
    /// To a client that is late the connection ends.
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.farewell.is_some() {
            return Poll::Ready(Ok(()));
        }
        if this.is_late(cx) {
            if this.watch.phase.get() == Phase::Head {
                this.part(bare::late_head(HEAD_TIME));
            }
            return Poll::Ready(Ok(()));
        }
        if this.taken >= READ_AT_ONCE {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.socket).poll_read(cx, buffer))?;
        let read = buffer.filled().len() - before;
        this.taken += read;
        if read > 0 {
            this.watch.has_heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Connection<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.taken = 0;
        let Some((start, head)) = bare::at_end_of(bytes) else {
            return this.write(cx, bytes);
        };
        if start > 0 {
            return this.write(cx, &bytes[..start]);
        }
        if this.farewell.is_none() {
            let is_answered = this.watch.phase.get() == Phase::Last;
            this.part(if is_answered { Vec::new() } else { bare::problem_for(head) });
        }
        // Only then is it written: actix-http drops the connection at once.
        ready!(this.poll_farewell(cx))?;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // Asked for when all is written, and last of all: the phase may have changed since something was read.
        this.blocked = None;
        this.taken = 0;
        if this.is_late(cx) {
            cx.waker().wake_by_ref();
        }
        ready!(this.poll_farewell(cx))?;
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_farewell(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
