//! Hosts that do not answer: listeners of our own that the sink cannot be.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    time::timeout,
};

/// A connection that takes longer than this to a listener of our own waits for its accept queue.
const STALLED: Duration = Duration::from_millis(200);
/// Far more connections than the shortest accept queue takes.
const MOST: usize = 64;

/// A host to which no connection comes about.
#[derive(Debug)]
pub(super) struct DeadHost {
    address: SocketAddr,
    /// Bound but not listening: connections are refused. Listening but full: they time out.
    _socket: Held,
    _filling: Vec<TcpStream>,
}

#[derive(Debug)]
enum Held {
    Bound { _socket: TcpSocket },
    Listening { _listener: TcpListener },
}

impl DeadHost {
    /// A host that refuses every connection at once.
    pub(super) fn refusing(ip: Ipv4Addr) -> anyhow::Result<DeadHost> {
        let socket = bound(ip)?;
        let address = socket.local_addr()?;
        Ok(DeadHost { address, _socket: Held::Bound { _socket: socket }, _filling: vec![] })
    }

    /// A host that drops what asks for a connection: its accept queue is full and nobody accepts.
    pub(super) async fn silent(ip: Ipv4Addr) -> anyhow::Result<DeadHost> {
        let listener = bound(ip)?.listen(1)?;
        let address = listener.local_addr()?;
        let mut filling = vec![];
        while filling.len() < MOST {
            match timeout(STALLED, TcpStream::connect(address)).await {
                Ok(stream) => filling.push(stream?),
                Err(_) => {
                    let held = Held::Listening { _listener: listener };
                    return Ok(DeadHost { address, _socket: held, _filling: filling });
                }
            }
        }
        anyhow::bail!("{address} took {MOST} connections though its accept queue holds one")
    }

    pub(super) fn port(&self) -> u16 {
        self.address.port()
    }
}

fn bound(ip: Ipv4Addr) -> anyhow::Result<TcpSocket> {
    let socket = TcpSocket::new_v4()?;
    let result: io::Result<()> = socket.bind((ip, 0).into());
    result.with_context(|| format!("cannot bind to {ip}"))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_silent_host_lets_a_connection_wait_and_a_refusing_one_does_not() {
        let host = DeadHost::silent(Ipv4Addr::new(127, 0, 0, 7)).await.unwrap();
        assert!(timeout(STALLED, TcpStream::connect(host.address)).await.is_err());
        let host = DeadHost::refusing(Ipv4Addr::new(127, 0, 0, 7)).unwrap();
        let refused = TcpStream::connect(host.address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
