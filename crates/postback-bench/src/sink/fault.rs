//! Broken partners: what hyper's server would not do, written to the socket by hand.

use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// What goes wrong after a request was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// `/hang`: no answer, the connection stays open.
    Hang,
    /// `/reset`: the connection is reset without an answer.
    Reset,
    /// `/close`: an answer that promises keep-alive, then the connection is closed.
    Close,
    /// `/slowbody`: half of the promised body, then nothing more.
    SlowBody,
    /// `/endless`: a body that never ends.
    Endless,
    /// `/garbage`: bytes that are not HTTP.
    Garbage,
}

impl Fault {
    /// The fault that a path's first segment asks for.
    pub(super) fn by_name(name: &str) -> Option<Fault> {
        Some(match name {
            "hang" => Fault::Hang,
            "reset" => Fault::Reset,
            "close" => Fault::Close,
            "slowbody" => Fault::SlowBody,
            "endless" => Fault::Endless,
            "garbage" => Fault::Garbage,
            _ => return None,
        })
    }

    /// Breaks the connection in the fault's way; ends when the connection is over.
    pub(super) async fn commit(self, stream: TcpStream) {
        // The client hangs up in the middle of most faults: its errors say nothing.
        _ = self.write(stream).await;
    }

    async fn write(self, mut stream: TcpStream) -> io::Result<()> {
        match self {
            Fault::Hang => until_closed(&mut stream).await,
            Fault::Reset => stream.set_zero_linger(),
            Fault::Close => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n").await
            }
            Fault::SlowBody => {
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf\n").await?;
                until_closed(&mut stream).await
            }
            Fault::Endless => {
                let mut chunk = b"400\r\n".to_vec();
                chunk.resize(chunk.len() + 0x400, b'x');
                chunk.extend_from_slice(b"\r\n");
                let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                stream.write_all(head).await?;
                loop {
                    stream.write_all(&chunk).await?;
                }
            }
            Fault::Garbage => stream.write_all(b"\x00\xffthis is not HTTP\r\n\r\n").await,
        }
    }
}

/// Reads and drops until the client closes.
async fn until_closed(stream: &mut TcpStream) -> io::Result<()> {
    let mut buffer = [0; 1024];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
