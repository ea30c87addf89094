//! Which requests are gathered into one batch, and how much may wait. Neither clock nor Redis is known here.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    rc::Rc,
    time::Duration,
};

use postback_core::{
    batch::{EncodedHead, EncodedRows, MAX_BYTES, MAX_ROWS, Source},
    queue::Enqueued,
};
use tokio::sync::{Notify, oneshot};

use crate::store::NotStored;

/// So many requests of a worker thread may wait for an answer here; further ones are stored alone.
const MAX_WAITING: usize = 4096;
/// So many bytes of their rows and heads may wait; further ones are stored alone.
const MAX_WAITING_BYTES: usize = 16 * 1024 * 1024;
/// Behind a commit of so many requests the next one waits for as many again. With fewer it would wait for nothing too often.
const CROWD: usize = 8;
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
}

impl Part {
    /// Answers it; a client that has gone away hears nothing.
    pub(super) fn answer(self, answer: Answer) {
        drop(self.tell.send(answer));
    }
}

/// The requests with one key.
#[derive(Debug)]
struct Kind {
    key: Key,
    /// Gatherings that have not landed.
    all: Cell<usize>,
    /// Those of them that are on their way to Redis.
    flying: Cell<usize>,
    /// What gathers now.
    open: RefCell<Option<Rc<Gathering>>>,
}

impl Kind {
    fn new(key: Key) -> Kind {
        let (all, flying) = (Cell::default(), Cell::default());
        Kind { key, all, flying, open: RefCell::default() }
    }
}

/// Requests that will be one batch.
#[derive(Debug)]
pub(super) struct Gathering {
    kind: Rc<Kind>,
    parts: RefCell<Vec<Part>>,
    rows: Cell<usize>,
    /// What the parts take in a batch.
    bytes: Cell<usize>,
    /// What it has of all that may wait: requests, bytes.
    waiting: Cell<(usize, usize)>,
    /// After what is before it has landed it waits a moment for so many requests.
    awaited: Cell<usize>,
    /// Told when it need not wait any longer.
    pub(super) go: Notify,
}

impl Gathering {
    fn new(kind: Rc<Kind>) -> Gathering {
        Gathering {
            kind,
            parts: RefCell::default(),
            rows: Cell::default(),
            bytes: Cell::default(),
            waiting: Cell::default(),
            awaited: Cell::default(),
            go: Notify::new(),
        }
    }

    /// Whether requests of its kind are on their way.
    pub(super) fn is_behind_others(&self) -> bool {
        self.kind.flying.get() > 0
    }

    fn requests(&self) -> usize {
        self.waiting.get().0
    }

    fn has_room(&self, rows: usize, bytes: usize) -> bool {
        let used = self.kind.key.head.as_bytes().len() + OTHER + self.bytes.get();
        self.rows.get() + rows <= MAX_ROWS && used + bytes <= MAX_BYTES
    }

    fn add(&self, part: Part, bytes: usize, held: usize) {
        self.rows.update(|n| n + part.rows.len());
        self.bytes.update(|n| n + bytes);
        self.waiting.update(|(requests, bytes)| (requests + 1, bytes + held));
        self.parts.borrow_mut().push(part);
        if self.rows.get() == MAX_ROWS || self.requests() == self.awaited.get() {
            self.go.notify_one();
        }
    }

    /// A commit before it has answered so many requests. Where they were many, about as many are on their way.
    fn follow(&self, answered: usize) {
        self.awaited.set(if answered < CROWD { 0 } else { answered });
        self.go.notify_one();
    }

    /// Whether it has been told to go by a crowd before it alone, and others are about to come.
    pub(super) fn awaits_others(&self) -> bool {
        self.requests() < self.awaited.get() && self.rows.get() < MAX_ROWS
    }

    /// Sends it on its way: nobody joins it any more. Requests whose clients have gone away are left out.
    pub(super) fn take(&self) -> Vec<Part> {
        self.kind.flying.update(|n| n + 1);
        self.kind.open.borrow_mut().take_if(|open| std::ptr::eq(&**open, self));
        let mut parts = self.parts.take();
        parts.retain(|part| !part.tell.is_closed());
        parts
    }
}

/// All that a worker thread gathers.
#[derive(Debug, Default)]
pub(super) struct Groups {
    kinds: HashMap<Key, Rc<Kind>>,
    /// Requests and bytes that wait for an answer.
    waiting: (usize, usize),
}

impl Groups {
    /// Puts a request to those with its key. Returns the gathering when it is a new one, which somebody must
    /// [`Gathering::take`] and see [`Groups::landed`]; or the request, when too much waits already.
    pub(super) fn join(
        &mut self,
        key: Key,
        part: Part,
    ) -> Result<Option<Rc<Gathering>>, Box<Part>> {
        let (rows, bytes) = (part.rows.len(), part.rows.size(&part.source));
        let held = bytes + key.head.as_bytes().len();
        let (waiting, waiting_bytes) = &mut self.waiting;
        if *waiting >= MAX_WAITING || *waiting_bytes + held > MAX_WAITING_BYTES {
            return Err(part.into());
        }
        *waiting += 1;
        *waiting_bytes += held;
        let kind = self.kinds.entry(key).or_insert_with_key(|key| Rc::new(Kind::new(key.clone())));
        let mut open = kind.open.borrow_mut();
        if let Some(open) = &*open {
            if open.has_room(rows, bytes) {
                open.add(part, bytes, held);
                return Ok(None);
            }
            open.go.notify_one();
        }
        kind.all.update(|n| n + 1);
        let new = Rc::new(Gathering::new(kind.clone()));
        new.add(part, bytes, held);
        *open = Some(new.clone());
        Ok(Some(new))
    }

    /// A gathering has been stored or refused: those of its kind that came meanwhile may go, once they are a crowd too
    /// where it was one.
    pub(super) fn landed(&mut self, gathering: &Gathering) {
        let (requests, bytes) = gathering.waiting.get();
        self.waiting = (self.waiting.0 - requests, self.waiting.1 - bytes);
        let kind = &gathering.kind;
        kind.flying.update(|n| n - 1);
        kind.all.update(|n| n - 1);
        if kind.all.get() == 0 {
            self.kinds.remove(&kind.key);
        } else if let Some(open) = &*kind.open.borrow() {
            open.follow(requests);
        }
    }
}

#[cfg(test)]
mod tests;
