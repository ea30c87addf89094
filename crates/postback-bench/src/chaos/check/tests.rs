//! The checker, on journals of a few rows: what is right passes, and what is wrong is found as what it is.

use std::time::Duration;

use super::*;
use crate::chaos::{
    expand::expected,
    faults::TABLE,
    journal::{Act, End, Hit, Logged, Names, Row, Shape, Stored},
};

const HOST: &str = "127.0.0.1:9";
const RETRIES_MS: [u64; 2] = [1000, 2000];
/// Attempts begin so many milliseconds after the request, by the waits above.
const AT_MS: [u64; 3] = [0, 1050, 3100];
const START_MS: u64 = 1_700_000_000_000;
const STRICT: Allowed = Allowed::NOTHING;

/// A request of one row for each of these, with the id `b-N`.
fn request(number: u64, acts: &[Act]) -> Request {
    let row = |(n, act): (usize, &Act)| Row {
        click: format!("{number}-{n}"),
        act: *act,
        n: 7,
        text: "a b".into(),
    };
    Request {
        number,
        shape: Shape::Object,
        lane: None,
        host: HOST.into(),
        steady: false,
        retries_ms: RETRIES_MS.to_vec(),
        rows: acts.iter().enumerate().map(row).collect(),
        sent_us: START_MS * 1000,
        answered_us: START_MS * 1000 + 500,
        answer: Answer::Accepted(vec![Stored {
            id: "b".into(),
            first: 0,
            rows: acts.len() as u64,
        }]),
    }
}

fn hit(row: &Row, id: &str, after_ms: u64) -> Hit {
    let expect = expected(Shape::Object, row);
    Hit {
        at_us: (START_MS + after_ms) * 1000,
        method: expect.method.into(),
        target: expect.target,
        headers: Names { id: id.into(), click: row.click.clone() },
        body: expect.body,
    }
}

fn logged(row: &Row, id: &str, attempt: usize, after_ms: u64) -> Logged {
    let is_last = attempt == row.act.attempts(RETRIES_MS.len());
    let end = if row.act.is_delivered() { End::Delivered } else { End::Dead("status".into()) };
    Logged {
        id: id.into(),
        click: Some(row.click.clone()),
        url: format!("http://{HOST}{}", expected(Shape::Object, row).target),
        attempt: attempt as u8,
        at_ms: START_MS + after_ms,
        status: if is_last && row.act.is_delivered() { 200 } else { 500 },
        took_us: 1000,
        end: is_last.then_some(end),
        error: None,
    }
}

/// What a request leaves when nothing goes wrong.
fn healthy(request: Request) -> Journals {
    let mut journals = Journals::default();
    for (n, row) in request.rows.iter().enumerate() {
        let id = format!("b-{n}");
        for (attempt, at_ms) in (1..=row.act.attempts(RETRIES_MS.len())).zip(AT_MS) {
            journals.hits.push(hit(row, &id, at_ms + 1));
            journals.log.push(logged(row, &id, attempt, at_ms));
        }
    }
    journals.requests.push(request);
    journals
}

fn all_acts() -> Journals {
    healthy(request(0, &[Act::Deliver, Act::Slow(9), Act::Flaky(2), Act::Refuse, Act::Fail]))
}

/// The invariants that are breached.
fn breached(journals: &Journals, allowed: Allowed) -> Vec<Invariant> {
    check(journals, allowed).breaches.into_keys().collect()
}

#[test]
fn what_went_as_scripted_breaches_nothing() {
    let report = check(&all_acts(), STRICT);
    assert!(report.breaches.is_empty(), "{:?}", report.breaches);
    assert_eq!((report.accepted, report.lost, report.repeated, report.unlogged), (5, 0, 0, 0));
}

#[test]
fn a_row_without_its_end_is_lost() {
    let mut journals = all_acts();
    journals.hits.retain(|hit| hit.click() != "0-0");
    journals.log.retain(|logged| logged.id != "b-0");
    let report = check(&journals, STRICT);
    assert_eq!(report.breaches.keys().collect::<Vec<_>>(), [&Invariant::Ends]);
    assert_eq!(report.lost, 1);
    // Dead, where it should have been delivered; delivered, where it should have died.
    for n in ["b-0", "b-4"] {
        let mut journals = all_acts();
        for logged in journals.log.iter_mut().filter(|logged| logged.id == n) {
            logged.end = logged.end.take().map(|end| match end {
                End::Delivered => End::Dead("status".into()),
                End::Dead(_) => End::Delivered,
            });
        }
        assert_eq!(breached(&journals, STRICT), [Invariant::Ends], "{n}");
    }
}

#[test]
fn a_row_that_died_of_something_else_is_lost() {
    let mut journals = healthy(request(0, &[Act::Refuse]));
    journals.log[0].end = Some(End::Dead("worker_crash".into()));
    assert_eq!(breached(&journals, STRICT), [Invariant::Ends]);
}

#[test]
fn a_request_without_an_answer_is_stored_whole_or_not_at_all() {
    let lost = Allowed { refusals: true, ..STRICT };
    let mut journals = healthy(request(0, &[Act::Deliver, Act::Deliver]));
    journals.requests[0].answer = Answer::Unknown("cut".into());
    assert_eq!(breached(&journals, lost), []);
    assert_eq!(breached(&journals, STRICT), [Invariant::Ends]);
    let mut half = journals.clone();
    half.hits.pop();
    half.log.pop();
    assert_eq!(breached(&half, lost), [Invariant::Ends]);
    (journals.hits, journals.log) = (vec![], vec![]);
    assert_eq!(breached(&journals, lost), []);
}

#[test]
fn nothing_comes_of_a_refused_request() {
    let refusals = Allowed { refusals: true, ..STRICT };
    let mut journals = healthy(request(0, &[Act::Deliver]));
    journals.requests[0].answer = Answer::Refused { status: 503, code: "not_enqueued".into() };
    assert_eq!(breached(&journals, refusals), [Invariant::Refused]);
    let (hits, log) = (std::mem::take(&mut journals.hits), std::mem::take(&mut journals.log));
    assert_eq!(breached(&journals, refusals), []);
    assert_eq!(breached(&journals, STRICT), [Invariant::Ends]);
    // Nobody asked for it.
    let stray = Journals { requests: vec![], hits, log };
    assert_eq!(breached(&stray, STRICT), [Invariant::Refused]);
}

#[test]
fn what_others_stored_may_die_unread_where_that_is_the_fault() {
    let mut journals = all_acts();
    let mut stranger = logged(&journals.requests[0].rows[0], "x-0", 1, 0);
    (stranger.click, stranger.attempt, stranger.status) = (None, 0, 0);
    stranger.end = Some(End::Dead("undecodable".into()));
    journals.log.push(stranger);
    assert_eq!(breached(&journals, STRICT), [Invariant::Refused]);
    let strangers = Allowed { strangers: true, ..STRICT };
    assert_eq!(breached(&journals, strangers), []);
    // One that was accepted may not end so, and is found by its id.
    journals.log.iter_mut().for_each(|logged| logged.id = logged.id.replace("x-0", "b-0"));
    assert_eq!(breached(&journals, strangers), [Invariant::Ends]);
}

#[test]
fn a_bad_request_must_be_refused() {
    let mut journals = healthy(request(0, &[Act::Deliver]));
    journals.requests[0].shape = Shape::Bad;
    journals.requests[0].answer = Answer::Refused { status: 400, code: "bad_request".into() };
    (journals.hits, journals.log) = (vec![], vec![]);
    assert_eq!(breached(&journals, STRICT), []);
    journals.requests[0].answer =
        Answer::Accepted(vec![Stored { id: "b".into(), first: 0, rows: 1 }]);
    assert!(breached(&journals, STRICT).contains(&Invariant::Refused));
}

#[test]
fn a_repeat_needs_an_allowance() {
    let mut journals = all_acts();
    journals.hits.push(hit(&journals.requests[0].rows[0], "b-0", 40_000));
    let report = check(&journals, STRICT);
    assert_eq!((report.repeated, report.unlogged), (1, 1));
    assert!(report.breaches.contains_key(&Invariant::Repeats));
    let one = Allowed { repeated: 1, unlogged: 1, delays: true, ..STRICT };
    assert_eq!(breached(&journals, one), []);
}

#[test]
fn an_attempt_that_the_log_calls_broken_allows_another_hit() {
    let mut journals = healthy(request(0, &[Act::Deliver]));
    let row = journals.requests[0].rows[0].clone();
    let mut broken = logged(&row, "b-0", 1, 0);
    (broken.status, broken.end) = (0, None);
    journals.log = vec![broken, logged(&row, "b-0", 2, AT_MS[1])];
    journals.log[1].end = Some(End::Delivered);
    journals.hits.push(hit(&row, "b-0", AT_MS[1] + 1));
    assert_eq!(breached(&journals, Allowed { broken: true, ..STRICT }), []);
    assert_eq!(breached(&journals, STRICT), [Invariant::Schedule]);
}

#[test]
fn a_first_attempt_comes_at_once_unless_a_fault_delays_it() {
    let mut journals = healthy(request(0, &[Act::Deliver]));
    journals.hits[0].at_us += 20_000_000;
    journals.log[0].at_ms += 20_000;
    let delays = Allowed { delays: true, ..STRICT };
    assert_eq!(breached(&journals, STRICT), [Invariant::Schedule]);
    assert_eq!(breached(&journals, delays), []);
    // Where the fault does not concern the partner, it is no excuse.
    journals.requests[0].steady = true;
    assert_eq!(breached(&journals, delays), [Invariant::Schedule]);
}

#[test]
fn an_attempt_made_again_after_a_lost_lease_is_a_repeat() {
    let mut journals = healthy(request(0, &[Act::Deliver]));
    let row = journals.requests[0].rows[0].clone();
    let mut late = logged(&row, "b-0", 1, 1);
    (late.status, late.end) = (0, None);
    journals.log.push(late);
    journals.hits.push(hit(&row, "b-0", 35_000));
    let report = check(&journals, STRICT);
    assert_eq!((report.repeated, report.unlogged), (1, 0));
    assert_eq!(report.breaches.keys().collect::<Vec<_>>(), [&Invariant::Repeats]);
}

#[test]
fn a_row_has_one_id() {
    let mut journals = all_acts();
    journals.hits[0].headers.id = "c-0".into();
    assert_eq!(breached(&journals, STRICT), [Invariant::Repeats]);
    // Not the one that the answer gave it.
    let mut journals = healthy(request(0, &[Act::Deliver]));
    journals.requests[0].answer =
        Answer::Accepted(vec![Stored { id: "b".into(), first: 1, rows: 1 }]);
    assert_eq!(breached(&journals, STRICT), [Invariant::Repeats]);
}

#[test]
fn waits_are_kept() {
    let check = |at_ms: [u64; 3], allowed, expect: &[Invariant]| {
        let mut journals = healthy(request(0, &[Act::Flaky(2)]));
        for (n, at_ms) in at_ms.into_iter().enumerate() {
            journals.hits[n].at_us = (START_MS + at_ms + 1) * 1000;
            journals.log[n].at_ms = START_MS + at_ms;
        }
        assert_eq!(breached(&journals, allowed), expect, "{at_ms:?}");
    };
    let delays = Allowed { delays: true, ..STRICT };
    check(AT_MS, STRICT, &[]);
    check([0, 805, 2410], STRICT, &[]);
    check([0, 750, 3100], delays, &[Invariant::Schedule]);
    check([0, 1050, 2500], delays, &[Invariant::Schedule]);
    check([0, 1050, 30_000], STRICT, &[Invariant::Schedule]);
    check([0, 1050, 30_000], delays, &[]);
}

#[test]
fn attempts_are_as_many_as_the_script_says_and_counted_without_a_hole() {
    let mut journals = healthy(request(0, &[Act::Flaky(2)]));
    journals.log[1].attempt = 3;
    assert!(breached(&journals, STRICT).contains(&Invariant::Schedule));
    // Given up a retry too early.
    let mut journals = healthy(request(0, &[Act::Fail]));
    journals.hits.pop();
    journals.log.pop();
    journals.log[1].end = Some(End::Dead("status".into()));
    assert!(breached(&journals, STRICT).contains(&Invariant::Schedule));
}

#[test]
fn the_log_tells_every_hit_and_no_other() {
    let mut journals = all_acts();
    journals.log.retain(|logged| (logged.id.as_str(), logged.attempt) != ("b-2", 3));
    assert!(breached(&journals, STRICT).contains(&Invariant::Log));
    let mut journals = all_acts();
    journals.hits.retain(|hit| hit.id() != "b-3");
    assert!(breached(&journals, STRICT).contains(&Invariant::Log));
}

#[test]
fn an_altered_byte_is_found() {
    let check = |alter: fn(&mut Journals)| {
        let mut journals = all_acts();
        alter(&mut journals);
        assert_eq!(breached(&journals, STRICT), [Invariant::Expansion]);
    };
    check(|journals| journals.hits[0].target.push('x'));
    check(|journals| journals.hits[1].body = journals.hits[1].body.replace('7', "8"));
    check(|journals| journals.hits[2].method = "PUT".into());
    check(|journals| journals.log[0].url.push('x'));
}

#[test]
fn what_is_measured_is_judged() {
    let breaches = |health: &Health| {
        let mut report = Report::default();
        judge(health, &mut report);
        report.breaches.into_keys().collect::<Vec<_>>()
    };
    let sample = |mib: u64, files| Sample { memory: mib << 20, files };
    let one = |program: &str, sample| BTreeMap::from([(program.to_owned(), sample)]);
    let good = Health {
        drained: Some(Duration::from_secs(1)),
        warm: one("deliver", sample(20, 50)),
        end: one("deliver", sample(50, 160)),
        ..Health::default()
    };
    assert_eq!(breaches(&good), []);
    assert_eq!(breaches(&Health { drained: None, ..good.clone() }), [Invariant::Drains]);
    let grown = |sample| Health { end: one("deliver", sample), ..good.clone() };
    assert_eq!(breaches(&grown(sample(60, 50))), [Invariant::Flat]);
    assert_eq!(breaches(&grown(sample(20, 170))), [Invariant::Flat]);
    assert_eq!(breaches(&Health { end: BTreeMap::new(), ..good.clone() }), [Invariant::Flat]);
    // Redis grows by the log that it keeps.
    let redis = Health {
        warm: one("redis-server", sample(20, 50)),
        end: one("redis-server", sample(90, 50)),
        ..good
    };
    assert_eq!(breaches(&redis), [Invariant::Flat]);
    assert_eq!(breaches(&Health { log_bytes: 20 << 20, ..redis }), []);
}

#[test]
fn a_fault_without_kills_and_cuts_may_repeat_nothing() {
    for fault in TABLE.iter().filter(|fault| ["none", "stop-deliver"].contains(&fault.name)) {
        assert_eq!((fault.allowed.repeated, fault.allowed.unlogged), (0, 0), "{}", fault.name);
    }
}
