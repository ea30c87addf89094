//! Small requests to the same endpoint that come at about the same time share a batch: one script call, one commit,
//! one batch for deliver. Each has its answer after the commit, with the ids of its own rows.
//!
//! Group commit: while none of its kind is on its way to Redis, a request goes out at once, with those that came in
//! the same turn of the event loop; an idle ingest answers as fast as without. Those that come meanwhile gather, and
//! go out together when that commit has returned, when the window has passed, or when the batch is full. After the
//! commit of a crowd they wait, for 1 ms at most, until they are as many: its clients, answered, are about to ask again.
//!
//! All worker threads gather together; the one whose request is the first of a batch stores it over its own connection to
//! Redis. What is gathered with what is decided in `coalesce/groups.rs`.

mod groups;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use actix_web::{rt, web};
use postback_core::{
    batch::{self, EncodedBatch, EncodedRows, Source},
    policy::{DurationError, parse_duration},
    queue::{Enqueue, Enqueued, Stored},
    redis::RedisFailure,
    request::Envelope,
};
use tokio::sync::{mpsc, oneshot};

use self::groups::{Answer, Groups, Home, Key, Landed, Part, Ticket, Waiting};
use crate::store::{NotStored, Store};

/// The longest that a request waits for others behind a commit of its kind, where no time is given.
const WINDOW: Duration = Duration::from_millis(1);
/// The longest window: a client hears within 2 s that Redis is away, of which Redis is given 1.8 s.
const MAX_WINDOW: Duration = Duration::from_millis(100);
/// A request with more rows is stored alone: it has little to gain.
const SMALL_ROWS: usize = 32;
/// A request that takes more bytes in a batch is stored alone.
const SMALL_BYTES: usize = 16 * 1024;

/// Reads the window: `off`, `on` or a duration; zero is off.
///
/// # Errors
/// For people, when it is none of these or too long.
pub(crate) fn window(text: &str) -> Result<Duration, String> {
    match text {
        "off" => return Ok(Duration::ZERO),
        "on" => return Ok(WINDOW),
        _ => {}
    }
    match parse_duration(text) {
        Ok(window) if window <= MAX_WINDOW => Ok(window),
        Err(DurationError::Syntax) => Err("must be `on`, `off` or a time such as `1ms`".into()),
        _ => Err("must be at most 100ms".into()),
    }
}

/// Where a request's rows go.
#[derive(Debug, Clone)]
pub(crate) struct Way {
    pub(crate) envelope: Arc<Envelope>,
    /// As [`Enqueue::max_backlog`].
    pub(crate) max_backlog: u64,
}

impl Way {
    /// These batches on it.
    pub(crate) fn with<'a>(&'a self, batches: &'a [EncodedBatch]) -> Enqueue<'a> {
        Enqueue {
            lane: self.envelope.lane,
            name: &self.envelope.lane_name,
            delay: self.envelope.delay,
            batches,
            max_backlog: self.max_backlog,
        }
    }
}

/// What gathers in this process.
#[derive(Clone)]
pub(crate) struct Coalescing {
    window: Duration,
    groups: Arc<Mutex<Groups>>,
}

impl Coalescing {
    /// `window`: the longest that a request waits for others; zero: nothing is gathered.
    pub(crate) fn new(window: Duration) -> Coalescing {
        Coalescing { window, groups: Arc::default() }
    }

    /// For the requests of this thread.
    pub(crate) fn on_this_thread(&self) -> Coalescer {
        let (home, mut landed) = mpsc::unbounded_channel();
        drop(rt::spawn(async move {
            while let Some(landed) = landed.recv().await {
                hand_out(landed);
            }
        }));
        Coalescer { all: self.clone(), home }
    }

    fn groups(&self) -> MutexGuard<'_, Groups> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A worker thread's way to what gathers.
pub(crate) struct Coalescer {
    all: Coalescing,
    home: Home,
}

impl Coalescer {
    /// Whether requests are gathered.
    pub(crate) fn is_on(&self) -> bool {
        !self.all.window.is_zero()
    }

    /// Stores a small request's rows together with others'; they are on their way when this returns. Returns them as
    /// batches of their own, which are yet to be stored, when too much waits already.
    pub(crate) fn join(
        &self,
        store: &web::Data<Store>,
        way: &Way,
        source: Source,
        rows: EncodedRows,
    ) -> Result<impl Future<Output = Answer> + use<>, Vec<EncodedBatch>> {
        let (tell, told) = oneshot::channel();
        let key = Key::new(rows.head(), way.envelope.delay);
        let joined =
            self.all.groups().join(key, Part { source, rows, tell, home: self.home.clone() });
        let new = joined.map_err(|part| part.rows.batches(&part.source))?;
        if let Some(ticket) = new {
            let gathering = Taken { all: self.all.clone(), ticket, waiting: None };
            drop(rt::spawn(commit(store.clone(), way.clone(), gathering, self.home.clone())));
        }
        // Nobody stores it when the thread that was about to ends, which happens only as the whole process does.
        let lost = |_| {
            let error = RedisFailure::Lost("ingest was stopped".into()).into();
            Err(NotStored { error, is_unknown: true, has_key: false })
        };
        Ok(async move { told.await.unwrap_or_else(lost) })
    }
}

/// A gathering in the hands of the one who stores it. It is out of the way when that one is gone, however it ended.
struct Taken {
    all: Coalescing,
    ticket: Arc<Ticket>,
    /// Once it has been taken: what it has of all that may wait.
    waiting: Option<Waiting>,
}

impl Taken {
    /// Waits until it is to go.
    async fn wait(&self) {
        let window = self.all.window;
        // Over in time or sooner: either way it is to go.
        let go = async |most| _ = tokio::time::timeout(most, self.ticket.go.notified()).await;
        if self.all.groups().is_behind_others(&self.ticket) {
            go(window).await;
            if self.all.groups().awaits_others(&self.ticket) {
                go(window.min(WINDOW)).await;
            }
        }
    }

    fn take(&mut self) -> Vec<Part> {
        let (parts, waiting) = self.all.groups().take(&self.ticket);
        self.waiting = Some(waiting);
        parts
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut groups = self.all.groups();
        let waiting = self.waiting.unwrap_or_else(|| groups.take(&self.ticket).1);
        groups.landed(&self.ticket, waiting);
    }
}

/// Waits for a gathering's time, stores what has come by then, and answers each request. A task of its own: no client
/// that goes away takes others' rows with it.
async fn commit(store: web::Data<Store>, way: Way, mut gathering: Taken, home: Home) {
    // First polled when all that was readable in this turn of the event loop has been read.
    gathering.wait().await;
    let parts = gathering.take();
    let requests: Vec<_> = parts.iter().map(|part| (&part.source, &part.rows)).collect();
    let (batch, firsts) = batch::join(&requests);
    let stored = if parts.is_empty() { Ok(vec![]) } else { put(&store, &way, &[batch]).await };
    drop(gathering);
    let answer = Arc::new(stored);
    let mut homes: Vec<(Home, Landed)> = vec![];
    for part in parts.into_iter().zip(firsts) {
        if let Some((_, own)) = homes.iter_mut().find(|(home, _)| home.same_channel(&part.0.home)) {
            own.parts.push(part);
        } else {
            let home = part.0.home.clone();
            homes.push((home, Landed { answer: answer.clone(), parts: vec![part] }));
        }
    }
    for (to, landed) in homes {
        if to.same_channel(&home) {
            hand_out(landed);
        } else {
            drop(to.send(landed));
        }
    }
}

/// Answers each request; a client that has gone away hears nothing.
fn hand_out(Landed { answer, parts }: Landed) {
    for (part, first) in parts {
        let own = |batch: &Enqueued| Enqueued {
            first: batch.first + u32::from(first),
            rows: part.rows.len() as u16,
            ..*batch
        };
        let answer = answer.as_ref().as_ref().map(|stored| stored.iter().map(own).collect());
        drop(part.tell.send(answer.map_err(Clone::clone)));
    }
}

async fn put(store: &Store, way: &Way, batches: &[EncodedBatch]) -> Answer {
    let (Stored::Now(batches) | Stored::Before(batches, _)) =
        store.enqueue(way.with(batches), None).await?;
    Ok(batches)
}

/// Whether a request with these rows may share a batch with others.
pub(crate) fn is_small(source: &Source, rows: &EncodedRows) -> bool {
    rows.len() <= SMALL_ROWS && rows.head().as_bytes().len() + rows.size(source) <= SMALL_BYTES
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::config::Config;

    #[test]
    fn the_window_is_a_short_time_or_on_or_off() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(window(text).ok(), expect.map(Duration::from_millis), "{text:?}");
        };
        check("off", Some(0));
        check("0s", Some(0));
        check("on", Some(1));
        check("2ms", Some(2));
        check("100ms", Some(100));
        for text in ["101ms", "1s", "18446744073709551616d", "1", "", "yes", "ON", "-1ms"] {
            check(text, None);
        }
    }

    #[test]
    fn the_bare_flag_switches_it_on() {
        let parse = |options: &[&str]| {
            let all = [&["ingest"], options].concat();
            Config::try_parse_from(all).unwrap().coalesce
        };
        assert_eq!(parse(&["--coalesce"]), WINDOW);
        assert_eq!(parse(&["--coalesce", "--max-rows", "5"]), WINDOW);
        assert_eq!(parse(&["--coalesce", "off"]), Duration::ZERO);
        assert_eq!(parse(&["--coalesce=3ms"]), Duration::from_millis(3));
    }
}
