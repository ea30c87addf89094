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
mod tests {
    use postback_core::{
        endpoint::{BodyTemplate, EndpointTemplate, Method, Unmatched},
        policy::Policy,
        value::Value,
    };

    use super::*;

    type Told = oneshot::Receiver<Answer>;

    fn head(host: &str) -> EncodedHead {
        let endpoint = EndpointTemplate {
            method: Method::Get,
            url: format!("http://{host}.com/{{a}}"),
            headers: vec![],
            body: BodyTemplate::None,
            reference: None,
            unmatched: Unmatched::Reject,
        };
        EncodedHead::new(&endpoint, &Policy::default())
    }

    /// A request with so many rows of so many bytes.
    fn part(rows: usize, bytes: usize) -> (Part, Told) {
        let row = vec![Value::Text("x".repeat(bytes).into())];
        let mut encoded = EncodedRows::of(head("a"));
        (0..rows).for_each(|_| encoded.push(&row));
        let rows = encoded;
        let source = Source {
            request_id: "r".into(),
            traceparent: None,
            received_at_ms: 0,
            first_row: 0,
            nginx_ms: None,
        };
        let (tell, told) = oneshot::channel();
        (Part { source, rows, tell }, told)
    }

    fn key(host: &str) -> Key {
        Key::new(&head(host), Duration::ZERO)
    }

    /// Whether it has been told to go, and waits for nobody.
    fn goes(gathering: &Gathering) -> bool {
        use std::{
            pin::pin,
            task::{Context, Waker},
        };
        let told = pin!(gathering.go.notified()).poll(&mut Context::from_waker(Waker::noop()));
        told.is_ready() && !gathering.awaits_others()
    }

    /// Puts in requests and keeps their clients waiting.
    struct Clients(Groups, Vec<Told>);

    impl Clients {
        fn join(&mut self, key: &Key, rows: usize, bytes: usize) -> Option<Rc<Gathering>> {
            let (part, told) = part(rows, bytes);
            self.1.push(told);
            self.0.join(key.clone(), part).unwrap()
        }
    }

    fn clients() -> Clients {
        Clients(Groups::default(), vec![])
    }

    #[test]
    fn requests_of_one_kind_gather_until_they_are_taken() {
        let mut all = clients();
        let (a, b) = (key("a"), key("b"));
        let later = Key::new(&head("a"), Duration::from_secs(1));
        let first = all.join(&a, 1, 1).unwrap();
        assert!(all.join(&a, 1, 1).is_none());
        let (other, delayed) = (all.join(&b, 1, 1).unwrap(), all.join(&later, 1, 1).unwrap());
        assert!(!first.is_behind_others());
        assert_eq!(first.take().len(), 2);
        let second = all.join(&a, 1, 1).unwrap();
        let behind = [&second, &other, &delayed].map(|gathering| gathering.is_behind_others());
        assert_eq!((behind, goes(&second)), ([true, false, false], false));
        all.0.landed(&first);
        assert!(goes(&second) && !second.is_behind_others());
        for gathering in [second, other, delayed] {
            assert_eq!(gathering.take().len(), 1);
            all.0.landed(&gathering);
        }
        assert!(all.0.kinds.is_empty() && all.0.waiting == (0, 0));
    }

    #[test]
    fn behind_a_crowd_as_many_gather_again() {
        let check = |crowd: usize, meanwhile: usize, later: usize| {
            let mut all = clients();
            let first = all.join(&key("a"), 1, 1).unwrap();
            (1..crowd).for_each(|_| assert!(all.join(&key("a"), 1, 1).is_none()));
            assert_eq!(first.take().len(), crowd);
            let second = all.join(&key("a"), 1, 1).unwrap();
            (1..meanwhile).for_each(|_| assert!(all.join(&key("a"), 1, 1).is_none()));
            all.0.landed(&first);
            for n in 0..later {
                assert!(!goes(&second), "{n} later of {later} behind {crowd}");
                assert!(all.join(&key("a"), 1, 1).is_none());
            }
            assert!(goes(&second), "{crowd}, {meanwhile}, {later}");
            assert_eq!(second.take().len(), meanwhile + later);
        };
        check(CROWD - 1, 1, 0);
        check(CROWD, CROWD, 0);
        check(CROWD, 1, CROWD - 1);
        check(30, 20, 10);
        check(30, 40, 0);
    }

    #[test]
    fn a_full_batch_goes_and_another_begins() {
        let check = |rows: usize, bytes: usize, fit: usize| {
            let mut all = clients();
            let first = all.join(&key("a"), rows, bytes).unwrap();
            for n in 2..=fit {
                assert!(all.join(&key("a"), rows, bytes).is_none(), "{n} of {rows} x {bytes}");
            }
            assert_eq!(goes(&first), rows * fit == MAX_ROWS);
            assert!(all.join(&key("a"), rows, bytes).is_some() && goes(&first));
            let parts = first.take();
            assert_eq!(parts.len(), fit);
            let requests: Vec<_> = parts.iter().map(|part| (&part.source, &part.rows)).collect();
            let (batch, _) = postback_core::batch::join(&requests);
            let batch = postback_core::batch::Batch::decode(&batch.bytes).unwrap();
            assert!(usize::from(batch.len()) <= MAX_ROWS && batch.size() <= MAX_BYTES);
        };
        check(1, 1, 256);
        check(32, 1, 8);
        check(30, 1, 8);
        check(1, 15_000, 4);
        check(10, 1_500, 4);
    }

    #[test]
    fn what_is_taken_late_does_not_take_what_gathers_since() {
        let mut all = clients();
        let first = all.join(&key("a"), 200, 1).unwrap();
        let second = all.join(&key("a"), 200, 1).unwrap();
        assert!(all.join(&key("a"), 50, 1).is_none());
        assert_eq!(second.take().len(), 2);
        all.0.landed(&second);
        let third = all.join(&key("a"), 1, 1).unwrap();
        assert!(!third.is_behind_others());
        assert_eq!(first.take().len(), 1);
        assert!(third.is_behind_others() && all.join(&key("a"), 1, 1).is_none());
        all.0.landed(&first);
        assert_eq!(third.take().len(), 2);
        all.0.landed(&third);
        assert!(all.0.kinds.is_empty());
    }

    #[test]
    fn a_client_that_has_gone_away_is_left_out() {
        let mut all = clients();
        let first = all.join(&key("a"), 1, 1).unwrap();
        for rows in 2..=4 {
            all.join(&key("a"), rows, 1);
        }
        drop(all.1.remove(1));
        let parts = first.take();
        assert_eq!(parts.iter().map(|part| part.rows.len()).collect::<Vec<_>>(), [1, 3, 4]);
        all.0.landed(&first);
        assert_eq!(all.0.waiting, (0, 0));
    }

    #[test]
    fn no_more_wait_than_may() {
        let mut all = clients();
        let mut gathered = vec![];
        for n in 0..MAX_WAITING {
            let key = key(&(n / 7).to_string());
            gathered.extend(all.join(&key, 1, 1));
        }
        assert!(all.0.join(key("a"), part(1, 1).0).is_err());
        for gathering in gathered {
            gathering.take();
            all.0.landed(&gathering);
        }
        assert!(all.0.kinds.is_empty() && all.0.waiting == (0, 0));
        let large = part(1, 16_000).0;
        let held = large.rows.head().as_bytes().len() + large.rows.size(&large.source);
        let fit = MAX_WAITING_BYTES / held;
        for _ in 0..fit {
            all.join(&key("a"), 1, 16_000);
        }
        assert!(all.0.join(key("a"), part(1, 16_000).0).is_err());
        assert!(all.0.join(key("b"), part(1, 16_000).0).is_err());
    }
}
