//! A client's connection, under actix-http: the time limits that it lacks, and a problem in place of the empty answers that
//! it gives to what it cannot read. No request that actix-http refuses reaches our routes.

mod bare;
mod gate;
mod watch;

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep_until},
};

use self::watch::{HEAD_TIME, Phase};
pub(crate) use self::watch::{LINGER, Watch};

/// How long a client may take to take an answer.
const ANSWER_TIME: Duration = Duration::from_secs(30);
/// How much is read before it is looked at. actix-http's buffer has 8 KiB and grows when less than 1 KiB of it is free, up to 128 KiB
/// for each connection, which it keeps.
const READ_AT_ONCE: usize = 7 * 1024;

/// A socket, and what is to be seen to on it.
pub(crate) struct Connection<S> {
    socket: S,
    watch: Rc<Watch>,
    /// Set to the deadline or, since most requests come long before it, to an earlier one.
    timer: Pin<Box<Sleep>>,
    /// Since when an answer waits for the client to take it: set while it does.
    blocked: Option<Pin<Box<Sleep>>>,
    /// How much has been handed on that was not looked at yet.
    taken: usize,
    /// What has been read and may not be handed on yet: less than is read at once.
    ahead: Vec<u8>,
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
        let timer = Box::pin(sleep_until(watch.opened()));
        Connection {
            socket,
            watch,
            timer,
            blocked: None,
            taken: 0,
            ahead: Vec::new(),
            farewell: None,
        }
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

    /// Throws away what comes after the last request, until the client has ended it too.
    fn read_to_no_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut thrown_away = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Throws away the body that nobody wanted, to its end: a client that has sent all of it need not be waited for.
    fn read_the_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let passed = self.watch.pass(&self.ahead);
        self.ahead.drain(..passed);
        let mut thrown_away = [0; 4096];
        while !self.watch.has_whole_body() {
            let mut buffer = ReadBuf::new(&mut thrown_away);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                break;
            }
            let passed = self.watch.pass(buffer.filled());
            self.ahead = buffer.filled()[passed..].to_vec();
        }
        Poll::Ready(Ok(()))
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
                ready!(self.read_to_no_end(cx))?;
                break;
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
            if this.watch.phase() == Phase::Head {
                this.part(bare::late_head(HEAD_TIME));
            }
            return Poll::Ready(Ok(()));
        }
        if this.watch.phase() == Phase::Last {
            return this.read_the_rest(cx);
        }
        if this.watch.is_shut(cx.waker()) {
            return Poll::Pending;
        }
        let most = (READ_AT_ONCE - this.taken).min(buffer.remaining());
        if most == 0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if this.ahead.is_empty() {
            // Copied from here, since as much of a quiet connection's buffer would be written to otherwise.
            let mut part = [const { MaybeUninit::uninit() }; READ_AT_ONCE];
            let mut part = ReadBuf::uninit(&mut part[..most]);
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut part))?;
            let passed = this.watch.pass(part.filled());
            buffer.put_slice(&part.filled()[..passed]);
            this.ahead = part.filled()[passed..].to_vec();
            this.taken += passed;
        } else {
            let passed = this.watch.pass(&this.ahead[..most.min(this.ahead.len())]);
            buffer.put_slice(&this.ahead[..passed]);
            this.ahead.drain(..passed);
            if this.ahead.is_empty() {
                this.ahead = Vec::new();
            }
            this.taken += passed;
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
            let is_answered = this.watch.phase() == Phase::Last;
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
        if !this.ahead.is_empty() {
            // More is on its way, maybe, and would be answered by a reset.
            this.part(Vec::new());
        }
        ready!(this.poll_farewell(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}
