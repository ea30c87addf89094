//! A proxy before Redis: it can stand still, and cut a connection when a chosen command was done but not answered.

use std::{
    cell::{Cell, RefCell},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    time::Duration,
};

use anyhow::Context;
use bytes::{Buf, BytesMut};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::{Notify, watch},
    task::JoinHandle,
};

/// How long Redis may take to answer the command that is to be cut.
const ANSWER: Duration = Duration::from_secs(5);

/// A script of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Enqueue,
    Reserve,
    Settle,
    Beat,
}

impl Script {
    pub(super) const ALL: [Script; 4] =
        [Script::Enqueue, Script::Reserve, Script::Settle, Script::Beat];

    /// The hash by which EVALSHA names it.
    fn hash(self) -> String {
        let common = include_str!("../../../postback-core/src/queue/common.lua");
        let own = match self {
            Script::Enqueue => include_str!("../../../postback-core/src/queue/enqueue.lua"),
            Script::Reserve => include_str!("../../../postback-core/src/queue/reserve.lua"),
            Script::Settle => include_str!("../../../postback-core/src/queue/settle.lua"),
            Script::Beat => include_str!("../../../postback-core/src/queue/beat.lua"),
        };
        redis::Script::new(&format!("{common}{own}")).get_hash().to_owned()
    }
}

/// A running proxy; it ends when it is dropped, with every connection.
pub(super) struct Proxy {
    orders: Rc<Orders>,
    listener: JoinHandle<()>,
}

/// What the connections share.
struct Orders {
    redis: PathBuf,
    stalled: watch::Sender<bool>,
    /// The hash of the script whose next answer is cut.
    cut: RefCell<Option<String>>,
    was_cut: Notify,
    over: Cell<bool>,
}

impl Proxy {
    /// Listens at a socket before Redis's.
    pub(super) fn start(socket: &Path, redis: PathBuf) -> anyhow::Result<Proxy> {
        let listener = UnixListener::bind(socket)
            .with_context(|| format!("cannot listen on {}", socket.display()))?;
        let orders = Rc::new(Orders {
            redis,
            stalled: watch::Sender::new(false),
            cut: RefCell::default(),
            was_cut: Notify::new(),
            over: Cell::new(false),
        });
        let shared = Rc::clone(&orders);
        let listener = tokio::task::spawn_local(async move {
            while let Ok((client, _)) = listener.accept().await {
                let shared = Rc::clone(&shared);
                tokio::task::spawn_local(async move {
                    // A connection's end is nothing to report: whose it was notices.
                    _ = shared.carry(client).await;
                });
            }
        });
        Ok(Proxy { orders, listener })
    }

    /// Lets nothing through, and loses nothing of it; or goes on.
    pub(super) fn stall(&self, stalled: bool) {
        self.orders.stalled.send_replace(stalled);
    }

    /// Cuts the connection of the next command that runs this script, once Redis has done it; waits until that was.
    pub(super) async fn cut(&self, script: Script, within: Duration) -> anyhow::Result<()> {
        *self.orders.cut.borrow_mut() = Some(script.hash());
        tokio::time::timeout(within, self.orders.was_cut.notified())
            .await
            .with_context(|| format!("no {script:?} came by in {within:?}"))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.orders.over.set(true);
        self.stall(false);
        self.listener.abort();
    }
}

impl Orders {
    async fn carry(&self, mut client: UnixStream) -> io::Result<()> {
        self.until_running().await;
        let mut redis = UnixStream::connect(&self.redis).await?;
        let (mut asked, mut answered) = (BytesMut::new(), BytesMut::new());
        loop {
            let from_client = tokio::select! {
                read = client.read_buf(&mut asked) => (read? > 0).then_some(true),
                read = redis.read_buf(&mut answered) => (read? > 0).then_some(false),
            };
            self.until_running().await;
            if from_client.is_none() || self.over.get() {
                return Ok(());
            }
            client.write_all_buf(&mut answered).await?;
            while let Some((length, hash)) = first_command(&asked) {
                redis.write_all(&asked[..length]).await?;
                asked.advance(length);
                if self.takes(&hash) {
                    _ = tokio::time::timeout(ANSWER, redis.read_buf(&mut answered)).await;
                    self.was_cut.notify_one();
                    return Ok(());
                }
            }
        }
    }

    async fn until_running(&self) {
        // It ends with the proxy at the latest.
        _ = self.stalled.subscribe().wait_for(|stalled| !stalled).await;
    }

    /// Whether the answer to this script is the one to be cut.
    fn takes(&self, hash: &str) -> bool {
        self.cut.borrow_mut().take_if(|cut| cut == hash).is_some()
    }
}

/// The length of the command at the start, if it is whole, and its second word when it is an EVALSHA.
fn first_command(bytes: &[u8]) -> Option<(usize, String)> {
    let (words, mut at) = number(bytes, 0, b'*')?;
    let mut hash = String::new();
    let mut is_script = false;
    for n in 0..words {
        let (length, start) = number(bytes, at, b'$')?;
        let word = bytes.get(start..start + length)?;
        match n {
            0 => is_script = word.eq_ignore_ascii_case(b"EVALSHA"),
            1 if is_script => hash = String::from_utf8_lossy(word).into_owned(),
            _ => {}
        }
        at = start + length + 2;
    }
    (at <= bytes.len()).then_some((at, hash))
}

/// A RESP line's number, and where the next line begins.
fn number(bytes: &[u8], at: usize, kind: u8) -> Option<(usize, usize)> {
    let rest = bytes.get(at..)?;
    let end = rest.windows(2).position(|pair| pair == b"\r\n")?;
    let text = rest.get(..end)?.strip_prefix(&[kind])?;
    Some((std::str::from_utf8(text).ok()?.parse().ok()?, at + end + 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_known_when_it_is_whole() {
        let command = b"*3\r\n$7\r\nEVALSHA\r\n$3\r\nabc\r\n$4\r\na\r\nb\r\n";
        for end in 0..command.len() {
            assert_eq!(first_command(&command[..end]), None, "{end}");
        }
        let whole = Some((command.len(), "abc".to_owned()));
        assert_eq!(first_command(command), whole);
        assert_eq!(first_command(&[&command[..], b"*1\r\n"].concat()), whole);
        assert_eq!(first_command(b"*1\r\n$4\r\nPING\r\n"), Some((14, String::new())));
    }
}
