//! Names to addresses: the system's resolver, each name asked once at a time and for a moment kept.
//!
//! Addresses are not judged here; every connection judges those it is given.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs},
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use postback_core::attempt::Failure;
use tokio::{
    sync::{OnceCell, Semaphore},
    task::spawn_blocking,
    time::timeout,
};

use super::{NoConnection, plain};
use crate::descriptors::is_shortage;

/// How long an answer is kept: long enough for a lane to open all its connections with one question.
const KEPT: Duration = Duration::from_secs(2);
/// The most names kept.
const MAX_NAMES: usize = 1024;
/// The most questions at a time. Each is a thread in `getaddrinfo`, for as long as that takes: 10 s where the name's
/// server is silent.
const MAX_QUESTIONS: usize = 128;
/// So many besides, for names whose last question got no answer in time: silent name servers hold up each other, and
/// nobody else.
const MAX_SUSPECTS: usize = 64;

type Addresses = Rc<[SocketAddr]>;
type Answer = Result<Addresses, NoConnection>;
type Lookup = fn(&str) -> io::Result<Vec<SocketAddr>>;

/// One name's question: all who ask while it is open wait for its one answer.
#[derive(Default)]
struct Question(OnceCell<(Instant, Answer)>);

impl Question {
    fn is_fresh(&self) -> bool {
        self.0.get().is_none_or(|(answered, _)| answered.elapsed() < KEPT)
    }
}

/// The resolver with its short memory.
pub(super) struct Names {
    lookup: Lookup,
    slots: Arc<Semaphore>,
    slots_of_suspects: Arc<Semaphore>,
    /// Names that got no answer in time, and when.
    suspects: RefCell<HashMap<String, Instant>>,
    questions: RefCell<HashMap<String, Rc<Question>>>,
}

impl Default for Names {
    fn default() -> Names {
        Names::new(system)
    }
}

impl Names {
    pub(super) fn new(lookup: Lookup) -> Names {
        Names {
            lookup,
            slots: Arc::new(Semaphore::new(MAX_QUESTIONS)),
            slots_of_suspects: Arc::new(Semaphore::new(MAX_SUSPECTS)),
            suspects: RefCell::default(),
            questions: RefCell::default(),
        }
    }

    /// The addresses of a name, with port 0.
    ///
    /// # Errors
    /// `Dns`, why there are none; or a shortage here.
    pub(super) async fn lookup(&self, host: &str, limit: Duration) -> Answer {
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

    async fn ask(&self, host: &str, limit: Duration) -> Answer {
        let is_suspect = self.suspects.borrow().contains_key(host);
        let slots = if is_suspect { &self.slots_of_suspects } else { &self.slots }.clone();
        let (lookup, name, asked) = (self.lookup, host.to_owned(), Cell::new(None));
        let answer = timeout(limit, async {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            asked.set(Some(Instant::now()));
            // The thread outlives a time-out, and its slot with it.
            let answer = spawn_blocking(move || {
                let answer = lookup(&name);
                drop(slot);
                answer
            });
            answer.await.map_err(io::Error::other)?
        });
        let answer = answer.await;
        // One that waited for its slot for long had no time to be answered.
        let told = |at: Instant| answer.is_ok() || at.elapsed() >= limit / 2;
        if asked.get().is_some_and(told) {
            self.suspect(host, answer.is_err());
        }
        let failed = |text: String| Failure::Dns(format!("{host}{text}")).into();
        match answer {
            Ok(Ok(addresses)) if addresses.is_empty() => Err(failed(" has no address".into())),
            Ok(Ok(addresses)) => Ok(addresses.into()),
            Ok(Err(error)) if is_shortage(&error) => Err(NoConnection::Shortage(plain(&error))),
            Ok(Err(error)) => {
                let text = plain(&error);
                let reason = text.rsplit(": ").next().unwrap_or(&text);
                Err(failed(format!(": {reason}")))
            }
            Err(_) => Err(failed(format!(": no answer within {limit:?}"))),
        }
    }

    /// Notes whether a name's question got no answer in time.
    fn suspect(&self, host: &str, silent: bool) {
        let mut suspects = self.suspects.borrow_mut();
        if !silent {
            suspects.remove(host);
            return;
        }
        if suspects.len() >= MAX_NAMES {
            let oldest = suspects.iter().min_by_key(|(_, at)| **at).map(|(name, _)| name.clone());
            oldest.and_then(|name| suspects.remove(&name));
        }
        suspects.insert(host.to_owned(), Instant::now());
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
