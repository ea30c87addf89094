//! The dead letters are read in one order, page by page, and chosen by a filter, by name, and within a bound.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use postback_core::{
    attempt::Cause,
    batch::{self, Source},
    dead_letters::DeadCursor,
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::{LaneId, PostbackId, lane_name},
    policy::Policy,
    queue::{Enqueue, Queue, Revision},
    select::Filter,
    testing::RedisServer,
    value::Value,
};

/// Stores rows for a host in a batch of their own, and has them all cancelled.
async fn die(queue: &Queue, host: &str, rows: usize) -> Vec<PostbackId> {
    let template = EndpointTemplate {
        method: Method::Get,
        url: format!("http://{host}/{{n}}"),
        headers: vec![],
        body: BodyTemplate::None,
        reference: Some("{n}".into()),
        unmatched: Unmatched::Text(String::new()),
    };
    let (_, url) = template.url.split_once("//").unwrap();
    let origin = Origin::of_host(&format!("http://{}", url.split('/').next().unwrap())).unwrap();
    let source = Source {
        request_id: format!("r-{host}"),
        traceparent: None,
        received_at_ms: 1,
        first_row: 0,
        nginx_ms: None,
    };
    let rows: Vec<_> = (0..rows).map(|n| vec![Value::Text(n.to_string().into())]).collect();
    let batches = batch::encode(&template, &Policy::default(), &source, &rows);
    let request = Enqueue {
        lane: LaneId::of(&origin[0], None),
        name: &lane_name(&origin[0], None),
        delay: Duration::ZERO,
        batches: &batches,
        max_backlog: 0,
    };
    let stored = queue.enqueue(request).await.unwrap();
    let filter = Filter { hosts: Some(vec![origin[0].host_port()]), ..Filter::default() };
    let mut cancelled = queue.select(Revision::Cancel, filter, |_| {}).await.unwrap();
    while !cancelled.is_over() {
        cancelled.step(queue, usize::MAX).await.unwrap();
    }
    let ids = stored.iter().flat_map(|batch| (0..batch.rows).map(|row| batch.id.postback(row)));
    ids.collect()
}

/// Reads all, so many rows at a time.
async fn read(queue: &Queue, filter: &Filter, most: usize) -> Vec<String> {
    let (mut ids, mut from) = (Vec::new(), None);
    loop {
        let until = Instant::now() + Duration::from_secs(60);
        let page = queue.dead_page(filter, from, most, until).await.unwrap();
        assert!(page.rows.len() <= most);
        assert!(page.rows.iter().all(|row| row.postback.cause == Some(Cause::Cancelled)));
        ids.extend(page.rows.into_iter().map(|row| row.postback.id));
        match page.next {
            // As a link carries it.
            Some(next) => from = Some(next.to_string().parse::<DeadCursor>().unwrap()),
            None => return ids,
        }
    }
}

fn sorted(ids: impl IntoIterator<Item = impl ToString>) -> Vec<String> {
    let mut ids: Vec<_> = ids.into_iter().map(|id| id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn pages_of_any_length_have_every_row_once_and_the_latest_batch_first() {
    let server = RedisServer::start();
    for shards in [1, 3] {
        let queue = Queue::open(&server.url(), &format!("pb{shards}"), shards).unwrap();
        let mut all = Vec::new();
        let mut last = Vec::new();
        for n in 0..20 {
            let before = queue.shards()[0].now_ms().await.unwrap();
            while queue.shards()[0].now_ms().await.unwrap() <= before {}
            last = die(&queue, &format!("h{n}.com"), 1 + n % 4).await;
            all.extend(last.clone());
        }
        let whole = read(&queue, &Filter::default(), 1000).await;
        assert_eq!(whole[..last.len()], last.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(sorted(&whole), sorted(all));
        for most in [1, 3, 7, 16] {
            assert_eq!(read(&queue, &Filter::default(), most).await, whole, "{most} at a time");
        }
        let one = Filter { hosts: Some(vec!["h7.com:80".into()]), ..Filter::default() };
        assert_eq!(read(&queue, &one, 2).await.len(), 4);
    }
}

#[tokio::test]
async fn a_page_ends_in_time_and_says_where_it_goes_on() {
    let server = RedisServer::start();
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    let mut first = Vec::new();
    for n in 0..40 {
        first = if n == 0 { die(&queue, "h0.com", 1).await } else { first };
        die(&queue, &format!("h{n}.com"), 1).await;
    }
    let rare = Filter { hosts: Some(vec!["h0.com:80".into()]), ..Filter::default() };
    let (mut from, mut pages, mut found) = (None, 0, Vec::new());
    loop {
        let page = queue.dead_page(&rare, from, 100, Instant::now()).await.unwrap();
        pages += 1;
        found.extend(page.rows.into_iter().map(|row| row.postback.id));
        from = page.next;
        if from.is_none() {
            break;
        }
        assert!(page.batches > 0, "it would never end");
    }
    assert_eq!(pages, 3, "41 batches, 16 at a time");
    assert!(found.contains(&first[0].to_string()));
}

#[tokio::test]
async fn rows_named_one_by_one_are_replayed_and_no_others() {
    let server = RedisServer::start();
    let queue = Queue::open(&server.url(), "pb", 2).unwrap();
    let (a, b) = (die(&queue, "a.com", 5).await, die(&queue, "b.com", 5).await);
    let gone = a[0].batch.postback(200);
    let asked = [a[1], a[3], b[0], b[0], gone];
    let mut chosen = queue.select_rows(Revision::Replay, asked).await.unwrap();
    assert_eq!((chosen.rows, chosen.batches), (3, 2));
    let mut changed = 0;
    while !chosen.is_over() {
        changed += chosen.step(&queue, 1).await.unwrap();
    }
    assert_eq!((changed, chosen.passed_over()), (3, 0));
    let left = read(&queue, &Filter::default(), 100).await;
    let dead = [&[a[0], a[2], a[4]][..], &b[1..]].concat();
    assert_eq!(sorted(left), sorted(dead));
    let again = queue.select_rows(Revision::Replay, asked).await.unwrap();
    assert_eq!(again.rows, 0, "what is pending is not replayed");
}

#[tokio::test]
async fn a_selection_can_end_before_all_was_looked_at() {
    let server = RedisServer::start();
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    for n in 0..20 {
        die(&queue, &format!("h{n}.com"), 1).await;
    }
    let part = queue.select_while(Revision::Drop, Filter::default(), |_| false).await.unwrap();
    assert_eq!((part.rows, part.is_whole), (16, false));
    let whole = queue.select(Revision::Drop, Filter::default(), |_| {}).await.unwrap();
    assert_eq!((whole.rows, whole.is_whole), (20, true));
}
