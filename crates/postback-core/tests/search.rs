//! Searches and lists find what is there, and within bounds tell what they have not looked at.

use std::time::Duration;

use postback_core::{
    attempt::Cause,
    batch::{Source, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::{LaneId, PostbackId, lane_name},
    policy::Policy,
    queue::{Enqueue, Queue, Record, Recorded, Scan, Settle, Which, encode_log},
    testing::RedisServer,
    value::Value,
    view::{Effort, Standing, Wanted},
};

/// Stores rows with these refs in one request.
async fn store(queue: &Queue, host: &str, request_id: &str, refs: &[String]) -> Vec<PostbackId> {
    let origin = Origin { tls: false, host: host.to_owned(), port: 80 };
    let endpoint = EndpointTemplate {
        method: Method::Get,
        url: format!("http://{host}/"),
        headers: vec![],
        body: BodyTemplate::None,
        reference: Some("{x}".into()),
        unmatched: Unmatched::Text(String::new()),
    };
    let source = Source {
        request_id: request_id.into(),
        traceparent: None,
        received_at_ms: 1,
        first_row: 0,
        nginx_ms: None,
    };
    let rows: Vec<_> = refs.iter().map(|text| vec![Value::Text(text.as_str().into())]).collect();
    let batches = encode(&endpoint, &Policy::default(), &source, &rows);
    let (lane, name) = (LaneId::of(&origin, None), lane_name(&origin, None));
    let request =
        Enqueue { lane, name: &name, delay: Duration::ZERO, batches: &batches, max_backlog: 0 };
    let stored = queue.enqueue(request).await.unwrap();
    stored.iter().flat_map(|batch| (0..batch.rows).map(|row| batch.id.postback(row))).collect()
}

fn record(id: PostbackId, reference: &str, then: Recorded) -> Record {
    Record {
        id: id.to_string(),
        request_id: "r".into(),
        reference: Some(reference.into()),
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
        then,
        received_at_ms: None,
        nginx_at_ms: None,
        reserved_at_ms: None,
        traceparent: None,
        sent: None,
        settled_at_ms: 0,
    }
}

async fn log(queue: &Queue, number: u64, records: &[&Record]) {
    let settle = Settle { number, log: encode_log(records), ..Settle::default() };
    assert!(queue.shards()[0].settle("w", &settle).await.unwrap());
}

async fn queue(server: &RedisServer) -> Queue {
    let queue = Queue::open(&server.url(), "pb", 1).unwrap();
    queue.shards()[0].beat("w", Which::First, &[]).await.unwrap();
    queue
}

#[tokio::test]
async fn a_search_of_what_is_stored_tells_how_far_it_came() {
    let server = RedisServer::start();
    let queue = queue(&server).await;
    let mut ids = vec![];
    for n in 0..3000 {
        let refs = [format!("click-{n}")];
        ids.extend(store(&queue, "a.com", &format!("request-{n}"), &refs).await);
    }
    let hurried = Effort { stored: Duration::ZERO, ..Effort::ALL };
    let found = queue.search("none", &hurried).await.unwrap();
    assert!(found.stored_looked_at.is_some_and(|n| n < 3000), "{found:?}");
    let found = queue.search("none", &Effort::ALL).await.unwrap();
    assert_eq!((found.stored_looked_at, found.postbacks.len()), (None, 0));
    for text in ["click-1234".to_owned(), "request-1234".to_owned(), ids[1234].to_string()] {
        let found = queue.find(&text).await.unwrap();
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!((&found[0].id, found[0].state), (&ids[1234].to_string(), Standing::Pending));
    }
    let pending = queue.pending(&Wanted::default(), None, None, 20).await.unwrap();
    assert_eq!((pending.listed.len(), pending.is_more), (20, true));
    assert!(pending.listed.is_sorted_by(|a, b| a.at_ms >= b.at_ms));
    let pending = queue.pending(&Wanted::default(), None, Some(1), 20).await.unwrap();
    assert_eq!(pending.listed.len(), 0);
}

#[tokio::test]
async fn a_search_that_finds_too_many_has_the_first_and_says_so() {
    let server = RedisServer::start();
    let queue = queue(&server).await;
    let refs: Vec<String> = (0..600).map(|n| format!("click-{n}")).collect();
    let ids = store(&queue, "a.com", "request-1", &refs).await;
    let found = queue.search("request-1", &Effort { most: 10, ..Effort::ALL }).await.unwrap();
    assert_eq!((found.postbacks.len(), found.is_more), (10, true));
    let found = queue.search("request-1", &Effort::ALL).await.unwrap();
    assert_eq!((found.postbacks.len(), found.is_more), (600, false));
    let of_batch = ids.iter().filter(|id| id.batch == ids[0].batch).map(ToString::to_string);
    let shown = found.postbacks.iter().map(|postback| postback.id.clone());
    let first = shown.filter(|id| id.starts_with(ids[0].batch.as_str()));
    assert_eq!(first.collect::<Vec<_>>(), of_batch.collect::<Vec<_>>(), "in the order of rows");
}

#[tokio::test]
async fn a_search_of_the_log_tells_how_far_back_it_came() {
    let server = RedisServer::start();
    let queue = queue(&server).await;
    let ids = store(&queue, "a.com", "request-1", &["click".into()]).await;
    log(&queue, 1, &[&record(ids[0], "old", Recorded::Delivered)]).await;
    for number in 2..50 {
        log(&queue, number, &[&record(ids[0], "new", Recorded::Delivered)]).await;
    }
    let hurried = Effort { log: Duration::ZERO, ..Effort::ALL };
    let found = queue.search("old", &hurried).await.unwrap();
    assert!(found.postbacks.is_empty() && found.log_back_to_ms.is_some(), "{found:?}");
    let found = queue.search("old", &Effort::ALL).await.unwrap();
    assert_eq!((found.postbacks.len(), found.log_back_to_ms), (1, None));
}

#[tokio::test]
async fn a_page_deep_in_the_log_leaves_out_what_was_tried_again_since() {
    let server = RedisServer::start();
    let queue = queue(&server).await;
    let ids = store(&queue, "a.com", "request-1", &["a".into(), "b".into()]).await;
    // These two are not stored any more.
    let gone = |id: PostbackId| {
        let mut text = id.to_string();
        text.replace_range(11..22, "00000000000");
        text.parse::<PostbackId>().unwrap()
    };
    let (over, dead) = (gone(ids[0]), gone(ids[1]));
    log(
        &queue,
        1,
        &[
            &record(over, "over", Recorded::Retry(9)),
            &record(dead, "dead", Recorded::Dead(Cause::Status)),
        ],
    )
    .await;
    log(&queue, 2, &[&record(over, "over", Recorded::Delivered)]).await;
    let listed = async |before| {
        let scan = Scan { before, most: 1, ..Scan::default() };
        let page = queue.recent(&Wanted::default(), &scan).await.unwrap();
        let listed = page.listed.into_iter();
        (listed.map(|l| (l.postback.id, l.postback.state)).collect::<Vec<_>>(), page.next)
    };
    let (first, next) = listed(None).await;
    assert_eq!(first, [(over.to_string(), Standing::Delivered)]);
    let (second, next) = listed(next).await;
    assert_eq!(second, [(dead.to_string(), Standing::Dead)]);
    assert_eq!(listed(next).await, (vec![], None));
}
