//! Broken partners: what hyper's server would not do, written to the socket by hand.
//!
//! A fault is data; [`TABLE`] has them all. How one is played is here.

mod table;

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::Socket;

pub(super) use self::table::{HANG_UP, TABLE};

/// What is written once a request was read, body and all, and what follows.
pub(super) struct Fault {
    /// The path's first segment.
    pub(super) name: &'static str,
    /// What it does, for the help.
    pub(super) about: &'static str,
    first: &'static [u8],
    again: Again,
    last: &'static [u8],
    then: Then,
}

/// What is written between a fault's first and last bytes.
enum Again {
    Times(usize, &'static [u8]),
    /// Until the client hangs up.
    Forever(&'static [u8]),
    /// One byte a second.
    Drip(&'static [u8]),
}

/// What becomes of the connection.
enum Then {
    Close,
    Reset,
    /// It stays open and says nothing more.
    Stall,
    /// Further requests are answered as ever.
    Keep,
    /// When the next request comes, the connection is reset with the request unread.
    ResetNext,
}

/// Endless output is written in pieces of so many bytes.
const PIECE: usize = 16 * 1024;

impl Fault {
    /// The fault that a path's first segment asks for.
    pub(super) fn by_name(name: &str) -> Option<&'static Fault> {
        TABLE.iter().find(|fault| fault.name == name)
    }

    /// The path that asks for it.
    pub(super) fn path(&self) -> String {
        format!("/{}", self.name)
    }

    /// Breaks the connection in the fault's way; gives back one that is to be served on.
    pub(super) async fn commit<S: Socket>(&self, mut stream: S) -> Option<S> {
        // The client hangs up in the middle of most faults: its errors say nothing.
        self.write(&mut stream).await.ok()?;
        match self.then {
            Then::Keep => return Some(stream),
            Then::Close => _ = stream.shutdown().await,
            Then::Reset => _ = stream.tcp().set_zero_linger(),
            Then::Stall => _ = until_closed(&mut stream).await,
            Then::ResetNext => {
                _ = stream.tcp().readable().await;
                _ = stream.tcp().set_zero_linger();
            }
        }
        None
    }

    async fn write(&self, stream: &mut impl Socket) -> io::Result<()> {
        let mut start = self.first.to_vec();
        if let Again::Times(times, bytes) = &self.again {
            start.extend(bytes.repeat(*times));
            start.extend(self.last);
        }
        // In one write, so that what belongs together arrives together.
        stream.write_all(&start).await?;
        match &self.again {
            Again::Times(..) => {}
            Again::Forever(bytes) => {
                let piece = bytes.repeat(PIECE.div_ceil(bytes.len()));
                loop {
                    stream.write_all(&piece).await?;
                }
            }
            Again::Drip(bytes) => {
                for byte in *bytes {
                    stream.write_all(&[*byte]).await?;
                    stream.flush().await?;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                stream.write_all(self.last).await?;
            }
        }
        stream.flush().await
    }
}

/// Reads and drops until the client closes.
pub(super) async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
