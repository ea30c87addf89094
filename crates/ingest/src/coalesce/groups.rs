//! Which requests are gathered into one batch, and how much may wait. Neither clock nor Redis is known here.

use std::{collections::HashMap, sync::Arc, time::Duration};

use postback_core::{
    batch::{EncodedHead, EncodedRows, MAX_BYTES, MAX_ROWS, Source},
    queue::Enqueued,
};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::store::NotStored;

/// So many requests may wait for an answer here; further ones are stored alone.
const MAX_WAITING: usize = 4096;
/// So many bytes of their rows and heads may wait; further ones are stored alone.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Behind a commit of so many requests the next one waits for as many again. With fewer it would wait for nothing too often.
const CROWD: usize = 8;
/// There is room for so many requests from the start.
const ROOM: usize = 32;
/// What a batch has beside its head and its parts: the number of its sources.
const OTHER: usize = 2;

/// What the requests in a batch have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// Endpoint and policy, encoded, which tell the lane too.
    head: EncodedHead,
    delay: Duration,
}

impl Key {
    pub(super) fn new(head: &EncodedHead, delay: Duration) -> Key {
        Key { head: head.clone(), delay }
    }
}

/// What becomes of a request: where its rows were put.
pub(super) type Answer = Result<Vec<Enqueued>, NotStored>;

/// A request that waits for its answer.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) source: Source,
    pub(super) rows: EncodedRows,
    pub(super) tell: oneshot::Sender<Answer>,
    /// The thread that waits for the answer.
    pub(super) home: Home,
}

/// A batch's way to those requests of a worker thread that are in it.
#[derive(Debug)]
pub(super) struct Landed {
    pub(super) answer: Arc<Answer>,
    /// Each with where its rows begin in the batch.
    pub(super) parts: Vec<(Part, u16)>,
}

/// A worker thread, which hands out answers to its own requests: woken once for all of them, and what it took from the
/// allocator goes back where it came from. Freed by other threads it cost a twentieth of ingest's CPU in waiting for locks.
pub(super) type Home = mpsc::UnboundedSender<Landed>;

/// The requests with one key.
#[derive(Debug, Default)]
struct Kind {
    /// Gatherings that are on their way to Redis.
    flying: usize,
    /// Those that have not been taken; the last one is joined, if it has room.
    gathering: Vec<Gathering>,
}

/// Requests that will be one batch.
#[derive(Debug)]
struct Gathering {
    ticket: Arc<Ticket>,
    parts: Vec<Part>,
    rows: usize,
    /// What the parts take in a batch.
    bytes: usize,
    /// What it has of all that may wait.
    waiting: Waiting,
    /// After what is before it has landed it waits a moment for so many requests.
    awaited: usize,
}

/// Stands for a gathering until it has landed.
#[derive(Debug)]
pub(super) struct Ticket {
    key: Key,
    /// Told when the gathering need not wait any longer.
    pub(super) go: Notify,
}

/// What waits for an answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Waiting {
    requests: usize,
    bytes: usize,
}

impl Gathering {
    fn new(key: Key) -> Gathering {
        let ticket = Ticket { key, go: Notify::new() };
        Gathering {
            ticket: ticket.into(),
            parts: Vec::with_capacity(ROOM),
            rows: 0,
            bytes: 0,
            waiting: Waiting::default(),
            awaited: 0,
        }
    }

    fn has(&self, ticket: &Ticket) -> bool {
        std::ptr::eq(&*self.ticket, ticket)
    }

    fn has_room(&self, rows: usize, bytes: usize) -> bool {
        let used = self.ticket.key.head.as_bytes().len() + OTHER + self.bytes;
        self.rows + rows <= MAX_ROWS && used + bytes <= MAX_BYTES
    }

    fn add(&mut self, part: Part, bytes: usize, held: usize) {
        self.rows += part.rows.len();
        self.bytes += bytes;
        self.waiting.requests += 1;
        self.waiting.bytes += held;
        self.parts.push(part);
        if self.rows == MAX_ROWS || self.waiting.requests == self.awaited {
            self.ticket.go.notify_one();
        }
    }

    /// A commit before it has answered so many requests. Where they were many, about as many are on their way.
    fn follow(&mut self, answered: usize) {
        self.awaited = if answered < CROWD { 0 } else { answered };
        self.ticket.go.notify_one();
    }
}

/// All that is gathered.
#[derive(Debug, Default)]
pub(super) struct Groups {
    kinds: HashMap<Key, Kind>,
    waiting: Waiting,
}

impl Groups {
    /// Puts a request to those with its key. Returns a ticket when it is the first of a gathering, which somebody must
    /// [`Groups::take`] and see [`Groups::landed`]; or the request, when too much waits already.
    pub(super) fn join(&mut self, key: Key, part: Part) -> Result<Option<Arc<Ticket>>, Box<Part>> {
        let (rows, bytes) = (part.rows.len(), part.rows.size(&part.source));
        let held = bytes + key.head.as_bytes().len();
        let waiting = &mut self.waiting;
        if waiting.requests >= MAX_WAITING || waiting.bytes + held > MAX_WAITING_BYTES {
            return Err(part.into());
        }
        waiting.requests += 1;
        waiting.bytes += held;
        let gathering = &mut self.kinds.entry(key.clone()).or_default().gathering;
        if let Some(open) = gathering.last_mut() {
            if open.has_room(rows, bytes) {
                open.add(part, bytes, held);
                return Ok(None);
            }
            open.ticket.go.notify_one();
        }
        let mut new = Gathering::new(key);
        new.add(part, bytes, held);
        let ticket = new.ticket.clone();
        gathering.push(new);
        Ok(Some(ticket))
    }

    /// Whether requests of its kind are on their way.
    pub(super) fn is_behind_others(&self, ticket: &Ticket) -> bool {
        self.kinds.get(&ticket.key).is_some_and(|kind| kind.flying > 0)
    }

    /// Whether it has been told to go by a crowd before it alone, and others are about to come.
    pub(super) fn awaits_others(&self, ticket: &Ticket) -> bool {
        let gathering = self.kinds.get(&ticket.key).map(|kind| &kind.gathering);
        let own = gathering.and_then(|all| all.iter().find(|other| other.has(ticket)));
        own.is_some_and(|own| own.waiting.requests < own.awaited && own.rows < MAX_ROWS)
    }

    /// Sends a gathering on its way: nobody joins it any more. Requests whose clients have gone away are left out. What
    /// all of them have of what may wait is theirs until it has landed.
    pub(super) fn take(&mut self, ticket: &Ticket) -> (Vec<Part>, Waiting) {
        let Some(kind) = self.kinds.get_mut(&ticket.key) else { return Default::default() };
        let Some(n) = kind.gathering.iter().position(|own| own.has(ticket)) else {
            return Default::default();
        };
        kind.flying += 1;
        let Gathering { mut parts, waiting, .. } = kind.gathering.remove(n);
        parts.retain(|part| !part.tell.is_closed());
        (parts, waiting)
    }

    /// What was taken has been stored or refused: those of its kind that came meanwhile may go, once they are a crowd too
    /// where it was one.
    pub(super) fn landed(&mut self, ticket: &Ticket, taken: Waiting) {
        self.waiting.requests -= taken.requests;
        self.waiting.bytes -= taken.bytes;
        let Some(kind) = self.kinds.get_mut(&ticket.key) else { return };
        kind.flying -= 1;
        if let Some(open) = kind.gathering.last_mut() {
            open.follow(taken.requests);
        } else if kind.flying == 0 {
            self.kinds.remove(&ticket.key);
        }
    }
}

#[cfg(test)]
mod tests;
