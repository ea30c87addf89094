//! The lean sink: a partner that costs as little as can be, so that measurements measure the others.
//!
//! It answers every `GET` by the same few bytes, over plain sockets, and counts. Whatever else a partner may do is the
//! other sink's.

use std::{
    cell::RefCell,
    io::{self, Write as _},
    net::SocketAddr,
    rc::Rc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use memchr::memmem;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
};

use super::Options;
use crate::histogram::Histogram;

const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 3\r\n\r\nok\n";
const FAILURE: &[u8] = b"HTTP/1.1 500 Internal Server Error\r\ncontent-type: text/plain\r\ncontent-length: 7\r\n\r\nfailed\n";
/// The longest head.
const MAX_HEAD: usize = 64 * 1024;
/// Connections that may wait to be accepted: thousands come at once, and one that finds no place comes again after a second.
const BACKLOG: u32 = 4096;

/// What all connections share.
#[derive(Debug)]
struct Lean {
    delay: Duration,
    fail_every: u64,
    counts: RefCell<Counts>,
}

/// The counts so far, the answer to `GET /__count`.
#[derive(Debug, Default)]
struct Counts {
    connections: u64,
    requests: u64,
    failed: u64,
    bytes: u64,
    /// Answers that were delayed, and by how much together, microseconds.
    delayed: u64,
    delayed_us: u64,
    /// From the time in `at=` to the arrival here, of each request that has one.
    waits: Histogram,
}

/// Serves until killed; writes `listening on ADDR` first.
pub(super) async fn run(options: &Options) -> anyhow::Result<()> {
    let listener =
        listen(options.listen).with_context(|| format!("cannot listen on {}", options.listen))?;
    writeln!(io::stdout().lock(), "listening on {}", listener.local_addr()?)?;
    let lean = Rc::new(Lean {
        delay: options.delay,
        fail_every: options.fail_every,
        counts: RefCell::default(),
    });
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                lean.counts.borrow_mut().connections += 1;
                let lean = Rc::clone(&lean);
                // The end of a connection is nothing to report.
                tokio::task::spawn_local(async move { drop(lean.converse(stream).await) });
            }
            // Out of files, mostly: others will be closed soon.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

impl Lean {
    async fn converse(&self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(1024);
        let end = memmem::Finder::new(b"\r\n\r\n");
        loop {
            let Some(head) = end.find(&buffer).map(|at| at + 4) else {
                if buffer.len() > MAX_HEAD || stream.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            if buffer.starts_with(b"GET /__count") {
                let text = self.counts.borrow().json();
                let length = text.len();
                let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{text}");
                stream.write_all(answer.as_bytes()).await?;
            } else {
                let answer = self.counts.borrow_mut().note(&buffer[..head], self.fail_every);
                if self.delay.is_zero() {
                    stream.write_all(answer).await?;
                } else {
                    let came = Instant::now();
                    tokio::time::sleep(self.delay).await;
                    stream.write_all(answer).await?;
                    self.counts.borrow_mut().note_delay(came.elapsed());
                }
            }
            buffer.drain(..head);
        }
    }
}

impl Counts {
    /// Counts a request and chooses its answer.
    fn note(&mut self, head: &[u8], fail_every: u64) -> &'static [u8] {
        self.requests += 1;
        self.bytes += head.len() as u64;
        let line = &head[..memchr::memchr(b'\r', head).unwrap_or_default()];
        if let Some(sent_us) = sent_us(line) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.waits.add(now.as_micros().saturating_sub(sent_us) as u64);
        }
        if fail_every > 0 && self.requests.is_multiple_of(fail_every) {
            self.failed += 1;
            return FAILURE;
        }
        ANSWER
    }

    fn note_delay(&mut self, delay: Duration) {
        self.delayed += 1;
        self.delayed_us += delay.as_micros() as u64;
    }

    fn json(&self) -> String {
        serde_json::json!({
            "connections": self.connections,
            "requests": self.requests,
            "failed": self.failed,
            "bytes": self.bytes,
            "delayed": self.delayed,
            "delayed_us": self.delayed_us,
            "waits": self.waits.count(),
            "p50_us": self.waits.per_mille(500),
            "p99_us": self.waits.per_mille(990),
            "p999_us": self.waits.per_mille(999),
            "max_us": self.waits.max(),
        })
        .to_string()
    }
}

/// The time in the target's `at=`, microseconds since 1970.
fn sent_us(line: &[u8]) -> Option<u128> {
    let at = memmem::find(line, b"&at=")? + 4;
    let digits = line[at..].iter().take_while(|byte| byte.is_ascii_digit());
    Some(digits.fold(0, |number, digit| 10 * number + u128::from(digit - b'0')))
}
