//! Listeners on every address of the namespace, which write down who called which of them.
//!
//! The sink of `postback-bench` cannot tell the address that was called; here that is the point.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
};

/// A connection that was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contact {
    pub(crate) to: SocketAddr,
    pub(crate) from: SocketAddr,
}

/// All listeners, one a port; they run until the test's process ends.
#[derive(Default)]
pub(crate) struct Partners {
    ports: Mutex<BTreeSet<u16>>,
    contacts: Arc<Mutex<Vec<Contact>>>,
}

impl Partners {
    /// Listens on a port of all addresses, if that is not done already.
    pub(crate) fn listen(&self, port: u16) {
        if !self.ports.lock().expect("the ports").insert(port) {
            return;
        }
        // Takes IPv4 too.
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port));
        let listener = listener.unwrap_or_else(|error| panic!("cannot listen on {port}: {error}"));
        let contacts = Arc::clone(&self.contacts);
        std::thread::spawn(move || {
            loop {
                let (stream, from) = listener.accept().expect("a connection");
                let to = stream.local_addr().expect("its address");
                let contact = Contact { to: canonical(to), from: canonical(from) };
                contacts.lock().expect("the contacts").push(contact);
                // The client's troubles are seen in what it says of them.
                std::thread::spawn(move || drop(answer(stream)));
            }
        });
    }

    /// Every connection so far, in the order in which they were accepted.
    pub(crate) fn contacts(&self) -> Vec<Contact> {
        self.contacts.lock().expect("the contacts").clone()
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Answers one request and closes, so that the next asks for its address again.
fn answer(mut stream: TcpStream) -> io::Result<()> {
    let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        let length = stream.read(&mut chunk)?;
        head.extend_from_slice(&chunk[..length]);
        if length == 0 || head[0] == 0x16 {
            return Ok(()); // a TLS handshake: there is nobody here who could
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let status = if head.contains("host: redir") {
        "302 Found\r\nLocation: http://127.0.0.1/"
    } else {
        "200 OK"
    };
    let answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes())
}
