//! A partner on a real socket that does as a script says.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use postback_core::endpoint::Origin;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

/// What the partner does after it wrote its answer.
#[derive(Debug, Clone, Copy)]
pub(super) enum Then {
    /// Reads the next request.
    Keep,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
    /// Keeps the connection open and says nothing more.
    Stall,
}

/// What was seen so far.
#[derive(Default)]
pub(super) struct Seen {
    /// Each request's bytes as text.
    pub(super) requests: RefCell<Vec<String>>,
    /// Connections accepted.
    pub(super) opened: Cell<usize>,
    /// Connections that the partner has closed.
    pub(super) closed: Cell<usize>,
    /// Tells a connection that waits for a request to close.
    pub(super) hang_up: Notify,
}

/// Answers its n-th request, over all connections, with `script(n)`.
pub(super) async fn partner(
    script: impl Fn(usize) -> (String, Then) + 'static,
) -> (Origin, Rc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (script, seen) = (Rc::new(script), Rc::<Seen>::default());
    let shared = seen.clone();
    tokio::task::spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            shared.opened.set(shared.opened.get() + 1);
            let (script, seen) = (script.clone(), shared.clone());
            tokio::task::spawn_local(async move {
                converse(stream, &*script, &seen).await;
                seen.closed.set(seen.closed.get() + 1);
            });
        }
    });
    (crate::connect::tests::origin("127.0.0.1", port), seen)
}

async fn converse(mut stream: TcpStream, script: &dyn Fn(usize) -> (String, Then), seen: &Seen) {
    loop {
        let request = tokio::select! {
            request = read_request(&mut stream) => request,
            () = seen.hang_up.notified() => None,
        };
        let Some(request) = request else { return };
        let number = seen.requests.borrow().len();
        seen.requests.borrow_mut().push(request);
        let (answer, then) = script(number);
        // The client may have enough of a long answer.
        _ = stream.write_all(answer.as_bytes()).await;
        match then {
            Then::Keep => {}
            Then::Close => return,
            Then::Reset => return stream.set_zero_linger().unwrap(),
            Then::Stall => while stream.read(&mut [0; 1024]).await.is_ok_and(|n| n > 0) {},
        }
    }
}

/// Reads a head and as much body as it announces; `None` when the client is gone.
async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut text = String::new();
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(text);
            }
        }
        let mut buffer = [0; 4096];
        let n = stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
}
