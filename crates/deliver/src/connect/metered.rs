//! A TCP stream that lets in so many bytes for one attempt and no more.
//!
//! It bounds what no other limit does: interim answers without end, chunk extensions, trailers, TLS records of a byte.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

/// The most that a partner may send in one attempt, in bytes on the wire: a head and a body of 64 KiB each, with what
/// chunks and TLS add to them, several times over.
pub(super) const MAX_WIRE: usize = 1024 * 1024;

/// How many bytes may still come in. Shared with the stream; hyper-tls asks for `Send`.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// A budget for the TLS handshake and the first attempt.
    pub(super) fn new() -> Budget {
        Budget(Arc::new(AtomicUsize::new(MAX_WIRE)))
    }

    /// Another attempt begins.
    pub(super) fn renew(&self) {
        self.0.store(MAX_WIRE, Relaxed);
    }

    fn spend(&self, bytes: usize) -> io::Result<()> {
        let left = self.0.load(Relaxed).checked_sub(bytes);
        self.0.store(left.unwrap_or_default(), Relaxed);
        let over = || {
            let text = format!("the partner sent over {} KiB in one attempt", MAX_WIRE / 1024);
            io::Error::new(io::ErrorKind::InvalidData, text)
        };
        left.map(drop).ok_or_else(over)
    }
}

/// The stream.
pub(super) struct Metered {
    tcp: TcpStream,
    budget: Budget,
}

impl Metered {
    pub(super) fn new(tcp: TcpStream, budget: Budget) -> Metered {
        Metered { tcp, budget }
    }
}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.tcp).poll_read(cx, buffer))?;
        Poll::Ready(self.budget.spend(buffer.filled().len() - before))
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }
}
