//! Small requests to the same endpoint that come at about the same time share a batch: one script call, one commit,
//! one batch for deliver. Each has its answer after the commit, with the ids of its own rows.
//!
//! Group commit: while none of its kind is on its way to Redis, a request goes out at once, with those that came in
//! the same turn of the event loop; an idle ingest answers as fast as without. Those that come meanwhile gather, and
//! go out together when that commit has returned, when the window has passed, or when the batch is full. After the
//! commit of a crowd they wait, for 1 ms at most, until they are as many: its clients, answered, are about to ask again.
//!
//! Each worker thread gathers by itself, for its own connection to Redis. What is gathered with what is decided in
//! `coalesce/groups.rs`.

mod groups;

use std::{cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use actix_web::{rt, web};
use postback_core::{
    batch::{self, EncodedBatch, EncodedRows, Source},
    policy::{DurationError, parse_duration},
    queue::{Enqueue, Enqueued, Stored},
    redis::RedisFailure,
    request::Envelope,
};
use tokio::sync::oneshot;

use self::groups::{Answer, Gathering, Groups, Key, Part};
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

/// One worker thread's gathering.
pub(crate) struct Coalescer {
    window: Duration,
    groups: Rc<RefCell<Groups>>,
}

impl Coalescer {
    /// `window`: the longest that a request waits for others; zero: nothing is gathered.
    pub(crate) fn new(window: Duration) -> Coalescer {
        Coalescer { window, groups: Rc::default() }
    }

    /// Whether requests are gathered.
    pub(crate) fn is_on(&self) -> bool {
        !self.window.is_zero()
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
        let joined = self.groups.borrow_mut().join(key, Part { source, rows, tell });
        let new = joined.map_err(|part| part.rows.batches(&part.source))?;
        if let Some(gathering) = new {
            let committer = Committer {
                store: store.clone(),
                groups: self.groups.clone(),
                gathering,
                way: way.clone(),
            };
            drop(rt::spawn(committer.run(self.window)));
        }
        // The committer ends without an answer only when the whole process does.
        let lost = |_| {
            let error = RedisFailure::Lost("ingest was stopped".into()).into();
            Err(NotStored { error, is_unknown: true, has_key: false })
        };
        Ok(async move { told.await.unwrap_or_else(lost) })
    }
}

/// Brings one gathering into the queue. A task of its own: no client that goes away takes others' rows with it.
struct Committer {
    store: web::Data<Store>,
    groups: Rc<RefCell<Groups>>,
    gathering: Rc<Gathering>,
    way: Way,
}

impl Committer {
    /// Waits for its time, stores what has gathered by then, and answers each request.
    async fn run(self, window: Duration) {
        // First polled when all that was readable in this turn of the event loop has been read.
        if self.gathering.is_behind_others() {
            // Over in time or sooner: either way it is to go.
            _ = tokio::time::timeout(window, self.gathering.go.notified()).await;
            if self.gathering.awaits_others() {
                let wait = window.min(WINDOW);
                _ = tokio::time::timeout(wait, self.gathering.go.notified()).await;
            }
        }
        let parts = self.gathering.take();
        let requests: Vec<_> = parts.iter().map(|part| (&part.source, &part.rows)).collect();
        let (batch, firsts) = batch::join(&requests);
        let stored = if parts.is_empty() { Ok(vec![]) } else { self.store(&[batch]).await };
        self.groups.borrow_mut().landed(&self.gathering);
        for (part, first) in parts.into_iter().zip(firsts) {
            let own = |batch: &Enqueued| Enqueued {
                first: batch.first + u32::from(first),
                rows: part.rows.len() as u16,
                ..*batch
            };
            let answer = stored.as_ref().map(|stored| stored.iter().map(own).collect());
            part.answer(answer.map_err(Clone::clone));
        }
    }

    async fn store(&self, batches: &[EncodedBatch]) -> Answer {
        let (Stored::Now(batches) | Stored::Before(batches, _)) =
            self.store.enqueue(self.way.with(batches), None).await?;
        Ok(batches)
    }
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
