//! What gathers with what, and when it goes.

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
