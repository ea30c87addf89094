//! Listeners, TCP and unix, and what is alike in their sockets.

use std::{
    fs, io,
    net::{SocketAddr, TcpListener},
    os::unix::{
        fs::{FileTypeExt, PermissionsExt},
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use actix_web::rt::net;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpSocket,
};

use crate::config::Listen;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Something to accept connections from.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// An accepted connection.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + 'static {
    /// The other side's address, where it has one.
    fn peer(&self) -> Option<SocketAddr>;

    /// Sends what is written at once. TCP would keep a short piece back until the other side has acknowledged the one
    /// before: 40 ms, for the end of a long answer or the second of two.
    fn send_at_once(&self);
}

impl Socket for net::TcpStream {
    fn peer(&self) -> Option<SocketAddr> {
        self.peer_addr().ok()
    }

    fn send_at_once(&self) {
        // It fails where the client is gone already.
        drop(self.set_nodelay(true));
    }
}

impl Socket for net::UnixStream {
    fn peer(&self) -> Option<SocketAddr> {
        None
    }

    fn send_at_once(&self) {}
}

/// All that can be had of the addresses that a name stands for.
pub(super) fn bind(listen: &Listen) -> io::Result<Vec<Listener>> {
    let addresses = match listen {
        Listen::Tcp(_, addresses) => addresses,
        Listen::Unix(path) => return Ok(vec![Listener::Unix(socket_file(path)?)]),
    };
    let (mut listeners, mut failures) = (Vec::new(), Vec::new());
    for address in addresses {
        match tcp(*address) {
            Ok(listener) => listeners.push(Listener::Tcp(listener)),
            Err(error) => failures.push((address, error)),
        }
    }
    if listeners.is_empty() {
        let last = failures.pop().map(|(_, error)| error);
        return Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()));
    }
    for (address, error) in failures {
        log::warn!("cannot listen on {address}, one of the addresses of {listen}: {error}");
    }
    Ok(listeners)
}

fn tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?.into_std()
}

/// A socket file for us and our group. One that nobody listens on any more is replaced.
fn socket_file(path: &Path) -> io::Result<UnixListener> {
    if fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket()) {
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path)?
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_to_a_client_is_sent_at_once() {
        let listener = net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, peer) = listener.accept().await.unwrap();
        socket.send_at_once();
        assert!(socket.nodelay().unwrap());
        assert_eq!(socket.peer(), Some(peer));
        assert_eq!(client.local_addr().unwrap(), peer);
    }

    #[tokio::test]
    async fn of_a_names_addresses_those_that_are_free_are_bound() {
        let other = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = other.local_addr().unwrap();
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let bind = |addresses: &[SocketAddr]| bind(&Listen::Tcp("x".into(), addresses.to_vec()));
        assert_eq!(bind(&[taken, free]).unwrap().len(), 1);
        assert_eq!(bind(&[free, free]).unwrap().len(), 2);
        let kind = |addresses: &[SocketAddr]| bind(addresses).err().map(|error| error.kind());
        assert_eq!(kind(&[taken, taken]), Some(io::ErrorKind::AddrInUse));
        assert_eq!(kind(&[]), Some(io::ErrorKind::AddrNotAvailable));
    }
}
