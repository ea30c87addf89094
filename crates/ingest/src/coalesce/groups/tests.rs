//! What gathers with what, and when it goes.

use std::{
    pin::pin,
    task::{Context, Waker},
};

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
    let (home, _) = mpsc::unbounded_channel();
    (Part { source, rows, tell, home }, told)
}

fn key(host: &str) -> Key {
    Key::new(&head(host), Duration::ZERO)
}

/// Puts in requests and keeps their clients waiting.
struct Clients(Groups, Vec<Told>, Vec<(Arc<Ticket>, Waiting)>);

impl Clients {
    fn join(&mut self, key: &Key, rows: usize, bytes: usize) -> Option<Arc<Ticket>> {
        let (part, told) = part(rows, bytes);
        self.1.push(told);
        self.0.join(key.clone(), part).unwrap()
    }

    /// Whether it has been told to go, and waits for nobody.
    fn goes(&self, ticket: &Ticket) -> bool {
        let told = pin!(ticket.go.notified()).poll(&mut Context::from_waker(Waker::noop()));
        told.is_ready() && !self.0.awaits_others(ticket)
    }

    fn take(&mut self, ticket: &Arc<Ticket>) -> Vec<Part> {
        let (parts, waiting) = self.0.take(ticket);
        self.2.push((ticket.clone(), waiting));
        parts
    }

    fn land(&mut self, ticket: &Arc<Ticket>) {
        let n = self.2.iter().position(|(taken, _)| Arc::ptr_eq(taken, ticket)).unwrap();
        let (ticket, waiting) = self.2.remove(n);
        self.0.landed(&ticket, waiting);
    }

    fn is_empty(&self) -> bool {
        self.0.kinds.is_empty() && self.0.waiting == Waiting::default()
    }
}

fn clients() -> Clients {
    Clients(Groups::default(), vec![], vec![])
}

#[test]
fn requests_of_one_kind_gather_until_they_are_taken() {
    let mut all = clients();
    let (a, b) = (key("a"), key("b"));
    let later = Key::new(&head("a"), Duration::from_secs(1));
    let first = all.join(&a, 1, 1).unwrap();
    assert!(all.join(&a, 1, 1).is_none());
    let (other, delayed) = (all.join(&b, 1, 1).unwrap(), all.join(&later, 1, 1).unwrap());
    assert!(!all.0.is_behind_others(&first));
    assert_eq!(all.take(&first).len(), 2);
    let second = all.join(&a, 1, 1).unwrap();
    let behind = [&second, &other, &delayed].map(|ticket| all.0.is_behind_others(ticket));
    assert_eq!((behind, all.goes(&second)), ([true, false, false], false));
    all.land(&first);
    assert!(all.goes(&second) && !all.0.is_behind_others(&second));
    for gathering in [second, other, delayed] {
        assert_eq!(all.take(&gathering).len(), 1);
        all.land(&gathering);
    }
    assert!(all.is_empty());
}

#[test]
fn behind_a_crowd_as_many_gather_again() {
    let check = |crowd: usize, meanwhile: usize, later: usize| {
        let mut all = clients();
        let first = all.join(&key("a"), 1, 1).unwrap();
        (1..crowd).for_each(|_| assert!(all.join(&key("a"), 1, 1).is_none()));
        assert_eq!(all.take(&first).len(), crowd);
        let second = all.join(&key("a"), 1, 1).unwrap();
        (1..meanwhile).for_each(|_| assert!(all.join(&key("a"), 1, 1).is_none()));
        all.land(&first);
        for n in 0..later {
            assert!(!all.goes(&second), "{n} later of {later} behind {crowd}");
            assert!(all.join(&key("a"), 1, 1).is_none());
        }
        assert!(all.goes(&second), "{crowd}, {meanwhile}, {later}");
        assert_eq!(all.take(&second).len(), meanwhile + later);
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
        assert_eq!(all.goes(&first), rows * fit == MAX_ROWS);
        assert!(all.join(&key("a"), rows, bytes).is_some() && all.goes(&first));
        let parts = all.take(&first);
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
fn what_is_taken_out_of_turn_leaves_the_others() {
    let mut all = clients();
    let first = all.join(&key("a"), 200, 1).unwrap();
    let second = all.join(&key("a"), 200, 1).unwrap();
    assert!(all.join(&key("a"), 50, 1).is_none());
    assert_eq!(all.take(&second).len(), 2);
    all.land(&second);
    assert!(all.join(&key("a"), 50, 1).is_none(), "what was full for more has room for less");
    assert_eq!(all.take(&first).len(), 2);
    let third = all.join(&key("a"), 1, 1).unwrap();
    assert!(all.0.is_behind_others(&third) && all.join(&key("a"), 1, 1).is_none());
    all.land(&first);
    assert_eq!(all.take(&third).len(), 2);
    all.land(&third);
    assert!(all.is_empty());
}

#[test]
fn a_client_that_has_gone_away_is_left_out() {
    let mut all = clients();
    let first = all.join(&key("a"), 1, 1).unwrap();
    for rows in 2..=4 {
        all.join(&key("a"), rows, 1);
    }
    drop(all.1.remove(1));
    let parts = all.take(&first);
    assert_eq!(parts.iter().map(|part| part.rows.len()).collect::<Vec<_>>(), [1, 3, 4]);
    all.land(&first);
    assert!(all.is_empty());
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
        all.take(&gathering);
        all.land(&gathering);
    }
    assert!(all.is_empty());
    let large = part(1, 16_000).0;
    let held = large.rows.head().as_bytes().len() + large.rows.size(&large.source);
    let fit = MAX_WAITING_BYTES / held;
    for _ in 0..fit {
        all.join(&key("a"), 1, 16_000);
    }
    assert!(all.0.join(key("a"), part(1, 16_000).0).is_err());
    assert!(all.0.join(key("b"), part(1, 16_000).0).is_err());
}
