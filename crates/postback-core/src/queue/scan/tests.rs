//! The cursor as text, and what it leads past.

use super::*;
use crate::{
    attempt::Cause,
    endpoint::Method,
    queue::{Recorded, encode_log},
    testing::RedisServer,
};

fn record(name: &str) -> Record {
    Record {
        id: name.to_owned(),
        request_id: "r".into(),
        reference: None,
        host: "a.com:80".into(),
        method: Method::Get,
        url: "http://a.com/".into(),
        unmatched: vec![],
        accepted_at_ms: 1,
        attempt: 1,
        at_ms: 2,
        status: 503,
        error: None,
        response_time_us: 3,
        response_body: String::new(),
        truncated: false,
        then: Recorded::Dead(Cause::Status),
        received_at_ms: None,
        nginx_at_ms: None,
        reserved_at_ms: None,
        traceparent: None,
        sent: None,
        settled_at_ms: 0,
    }
}

/// A log that the test writes by itself, with the ids that it wants.
struct Log {
    queue: Queue,
    connection: redis::Connection,
    _server: RedisServer,
}

impl Log {
    fn new(shards: u16) -> Log {
        let server = RedisServer::start();
        let queue = Queue::open(&server.url(), "pb", shards).unwrap();
        let connection = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
        Log { queue, connection, _server: server }
    }

    fn add_bytes(&mut self, shard: usize, id: &str, bytes: &[u8]) {
        let key = format!("pb:{{{shard}}}:log");
        let mut add = redis::cmd("XADD");
        add.arg(key).arg(id).arg("d").arg(bytes).query::<()>(&mut self.connection).unwrap();
    }

    /// An entry with these records, the last one the newest.
    fn add(&mut self, shard: usize, id: &str, names: &[&str]) {
        let records: Vec<Record> = names.iter().map(|name| record(name)).collect();
        self.add_bytes(shard, id, &encode_log(&records.iter().collect::<Vec<_>>()));
    }

    /// All pages, each behind the one before.
    async fn pages(&self, mut scan: Scan) -> Vec<Vec<String>> {
        let mut pages = vec![];
        loop {
            let page = self.queue.scan(&scan, |logged| Some(logged.record.id)).await.unwrap();
            pages.push(page.found);
            // As a text: so it goes through a page's link.
            scan.before = page.next.map(|place| place.to_string().parse().unwrap());
            if scan.before.is_none() {
                return pages;
            }
        }
    }
}

fn most(most: usize) -> Scan {
    Scan { most, ..Scan::default() }
}

/// Three shards, ids that two of them have, full and small entries, one that cannot be read.
fn mixed() -> (Log, [&'static str; 10]) {
    let mut log = Log::new(3);
    log.add(0, "100-0", &["j", "i"]);
    log.add(1, "100-0", &["h"]);
    log.add(2, "150-0", &["g"]);
    log.add(2, "150-1", &["f", "e", "d"]);
    log.add_bytes(0, "160-0", b"damaged");
    log.add(0, "200-0", &["c"]);
    log.add(2, "200-0", &["b", "a"]);
    (log, ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"])
}

#[tokio::test]
async fn pages_of_any_size_give_every_record_once_and_the_newest_first() {
    let (log, all) = mixed();
    for size in 1..=11 {
        let pages = log.pages(most(size)).await;
        assert_eq!(pages.concat(), all, "{size}: {pages:?}");
        assert!(pages.iter().rev().skip(1).all(|page| page.len() == size), "{size}: {pages:?}");
        assert!(pages.iter().all(|page| !page.is_empty()), "{size}: {pages:?}");
    }
}

#[tokio::test]
async fn what_comes_in_and_goes_between_two_pages_shifts_nothing() {
    let (mut log, all) = mixed();
    let id = |logged: Logged| Some(logged.record.id);
    // In the middle of the entry with d, e and f.
    let first = log.queue.scan(&most(4), id).await.unwrap();
    for shard in 0..3 {
        log.add(shard, "300-0", &["new"]);
        let delete = redis::cmd("XDEL").arg(format!("pb:{{{shard}}}:log")).arg("100-0").to_owned();
        delete.query::<()>(&mut log.connection).unwrap();
    }
    let second = log.queue.scan(&Scan { before: first.next, ..most(9) }, id).await.unwrap();
    assert_eq!(
        ([first.found, second.found].concat(), second.next),
        (all[..7].iter().map(ToString::to_string).collect(), None)
    );
    // The entry itself is gone.
    let delete = redis::cmd("XDEL").arg("pb:{2}:log").arg("150-1").to_owned();
    delete.query::<()>(&mut log.connection).unwrap();
    let second = log.queue.scan(&Scan { before: first.next, ..most(9) }, id).await.unwrap();
    assert_eq!(second.found, ["g"]);
}

#[tokio::test]
async fn a_log_of_many_entries_large_and_small_is_read_whole() {
    let mut log = Log::new(2);
    let (mut expect, mut random) = (vec![], fastrand::Rng::with_seed(7));
    for entry in 1..=3000_u32 {
        // Bytes that cannot be compressed, now and then more of them than are asked for at once.
        let size = if entry % 1000 == 0 { 1_500_000 } else { random.usize(..2000) };
        let shard = random.usize(..2);
        let mut large = record(&entry.to_string());
        large.response_body = (0..size).map(|_| random.alphanumeric()).collect();
        log.add_bytes(shard, &format!("{entry}-0"), &encode_log(&[&large]));
        expect.push(entry.to_string());
    }
    expect.reverse();
    assert_eq!(log.pages(most(usize::MAX)).await, [expect.clone()]);
    let pages = log.pages(most(700)).await;
    assert_eq!((pages.len(), pages.concat()), (5, expect));
}

#[tokio::test]
async fn a_page_that_has_spent_its_budget_tells_how_far_it_came_and_where_to_go_on() {
    let (log, _) = mixed();
    let mut scan = most(2);
    scan.budget.records = 4;
    let rare = |logged: Logged| Some(logged.record.id).filter(|id| id == "e");
    let page = log.queue.scan(&scan, rare).await.unwrap();
    assert_eq!((&page.found[..], page.back_to_ms, page.looked_at), (&[][..], Some(150), 4));
    assert!(page.is_cut_short(&scan));
    scan.before = page.next;
    let page = log.queue.scan(&scan, rare).await.unwrap();
    assert_eq!((&page.found[..], page.back_to_ms), (&["e".to_owned()][..], Some(100)));
    // Without time each page still takes an entry.
    let scan = Scan { budget: Budget { time: Duration::ZERO, ..Budget::NONE }, ..most(50) };
    let pages = log.pages(scan).await;
    assert_eq!((pages.len(), pages.concat().len()), (8 - 1, 10), "{pages:?}");
}

#[tokio::test]
async fn only_what_was_settled_in_the_time_asked_for_is_read() {
    let (log, all) = mixed();
    let check = async |since_ms, until_ms, expect: &[&str]| {
        for size in [1, 2, 50] {
            let scan = Scan { since_ms, until_ms, ..most(size) };
            assert_eq!(log.pages(scan).await.concat(), expect, "{since_ms:?} {until_ms:?}");
        }
    };
    check(Some(150), None, &all[..7]).await;
    check(Some(151), None, &all[..3]).await;
    check(None, Some(200), &all[3..]).await;
    check(None, Some(150), &all[7..]).await;
    check(Some(150), Some(151), &all[3..7]).await;
    check(Some(200), Some(200), &[]).await;
    check(Some(201), None, &[]).await;
    check(None, Some(0), &[]).await;
    // A cursor of a page with another time.
    let before = Some("200-0.0.all".parse().unwrap());
    let scan = Scan { before, until_ms: Some(150), ..Scan::default() };
    assert_eq!(log.pages(scan).await.concat(), all[7..]);
}

#[tokio::test]
async fn the_log_of_failures_is_read_alike_and_an_empty_one_has_no_end() {
    let mut log = Log::new(2);
    log.add(0, "100-0", &["a"]);
    let scan = Scan { stream: Stream::Errors, ..Scan::default() };
    let page = log.queue.scan(&scan, Some).await.unwrap();
    assert_eq!(page, Page { found: vec![], next: None, back_to_ms: None, looked_at: 0 });
    let bytes = encode_log(&[&record("b")]);
    let mut add = redis::cmd("XADD");
    add.arg("pb:{1}:errors").arg("7-0").arg("d").arg(bytes).arg("late").arg("w");
    add.query::<()>(&mut log.connection).unwrap();
    let page = log.queue.scan(&scan, Some).await.unwrap();
    assert_eq!(
        page.found,
        [Logged { record: Record { settled_at_ms: 7, ..record("b") }, settled_ms: 7, late: true }]
    );
}
