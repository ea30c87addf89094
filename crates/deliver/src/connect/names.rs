//! Names to addresses: the system's resolver, each name asked once at a time and for a moment kept.
//!
//! Addresses are not judged here; every connection judges those it is given.

use std::{
    cell::RefCell,
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OnceCell, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::plain;

/// How long an answer is kept: long enough for a lane to open all its connections with one question.
const KEPT: Duration = Duration::from_secs(2);
/// The most names kept.
const MAX_NAMES: usize = 1024;
/// The most questions at a time. Each is a thread in `getaddrinfo`, for as long as that takes: many
/// enough for a few names whose servers are silent to leave room for the others.
const MAX_QUESTIONS: usize = 32;

type Addresses = Rc<[SocketAddr]>;
type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// One name's question: all who ask while it is open wait for its one answer.
#[derive(Default)]
struct Question(OnceCell<(Instant, Result<Addresses, String>)>);

impl Question {
    fn is_fresh(&self) -> bool {
        self.0.get().is_none_or(|(answered, _)| answered.elapsed() < KEPT)
    }
}

/// The resolver with its short memory.
pub(super) struct Names {
    lookup: Lookup,
    slots: Arc<Semaphore>,
    questions: RefCell<HashMap<String, Rc<Question>>>,
}

impl Default for Names {
    fn default() -> Names {
        Names::new(system)
    }
}

impl Names {
    pub(super) fn new(lookup: Lookup) -> Names {
        let slots = Arc::new(Semaphore::new(MAX_QUESTIONS));
        Names { lookup, slots, questions: RefCell::default() }
    }

    /// The addresses of a name, with port 0.
    ///
    /// # Errors
    /// Why there are none, for people.
    pub(super) async fn lookup(&self, host: &str, limit: Duration) -> Result<Addresses, String> {
        // RFC 6761: never a question for a name server, with or without the root's dot.
        let bare = host.strip_suffix('.').unwrap_or(host);
        if bare == "localhost" || bare.ends_with(".localhost") {
            let loopback = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
            return Ok(loopback.map(|ip: IpAddr| SocketAddr::new(ip, 0)).into());
        }
        let question = self.question(host);
        let ask = || async {
            let answer = self.ask(host, limit).await;
            (Instant::now(), answer)
        };
        question.0.get_or_init(ask).await.1.clone()
    }

    fn question(&self, host: &str) -> Rc<Question> {
        let mut questions = self.questions.borrow_mut();
        if let Some(question) = questions.get(host).filter(|question| question.is_fresh()) {
            return question.clone();
        }
        if questions.len() >= MAX_NAMES {
            questions.retain(|_, question| question.is_fresh());
        }
        if questions.len() >= MAX_NAMES {
            questions.clear();
        }
        let question = Rc::<Question>::default();
        questions.insert(host.to_owned(), question.clone());
        question
    }

    async fn ask(&self, host: &str, limit: Duration) -> Result<Addresses, String> {
        let (lookup, slots, name) = (self.lookup, self.slots.clone(), host.to_owned());
        let answer = timeout(limit, async move {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            // The thread outlives a time-out, and its slot with it.
            let answer = spawn_blocking(move || {
                let answer = lookup(&name);
                drop(slot);
                answer
            });
            answer.await.map_err(io::Error::other)?
        });
        match answer.await {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(format!("{host} has no address")),
            Ok(Ok(addresses)) => Ok(addresses.into()),
            Ok(Err(error)) => {
                let text = plain(&error);
                let reason = text.rsplit(": ").next().unwrap_or(&text);
                Err(format!("{host}: {reason}"))
            }
            Err(_) => Err(format!("{host}: no answer within {limit:?}")),
        }
    }
}

/// `getaddrinfo`: files, search domains and name servers as the system has them.
fn system(host: &str) -> io::Result<Vec<SocketAddr>> {
    let canonical = |a: SocketAddr| match a.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), 0),
        // Kept whole: it may have a zone, which the guard refuses.
        IpAddr::V6(_) => a,
    };
    Ok((host, 0).to_socket_addrs()?.map(canonical).collect())
}

#[cfg(test)]
mod tests;
