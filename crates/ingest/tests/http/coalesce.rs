//! Small requests that share a batch, against a real Redis that is held up so that they gather.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use postback_core::{
    batch::Batch,
    queue::{Queue, Revision, StoredBatch},
    select::Filter,
    testing::RedisServer,
    view::Standing,
};

use crate::support::{Answer, Front, JSON, ask, read, request};

/// As long as is allowed, so that a busy machine gathers too.
const ON: [&str; 2] = ["--coalesce", "100ms"];

/// A request with these rows, `k` counted from `n`.
fn body(path: &str, policy: &str, n: usize, rows: usize) -> String {
    let rows: Vec<String> = (n..n + rows).map(|k| format!(r#"{{"k":{k}}}"#)).collect();
    format!(
        r#"{{"endpoint":{{"method":"GET","url":"http://a.com/{path}?k={{k}}"}},"policy":{policy},"data":[{}]}}"#,
        rows.join(",")
    )
}

/// One of many requests: its id and its body.
type One = (String, String);

/// Writes each on a connection of its own and only then reads. What is named `key…` has an `Idempotency-Key`.
fn send_all(front: &Front, requests: &[One]) -> Vec<Answer> {
    write_all(front, requests).into_iter().map(read).collect()
}

fn write_all(front: &Front, requests: &[One]) -> Vec<TcpStream> {
    let write = |(id, body): &One| {
        let mut stream = TcpStream::connect(front.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let trace = trace(id);
        let mut headers = vec![JSON, ("X-Request-Id", id), ("traceparent", &trace)];
        if id.starts_with("key") {
            headers.push(("Idempotency-Key", id));
        }
        stream.write_all(&request("POST", "/i", &headers, body)).unwrap();
        stream
    };
    requests.iter().map(write).collect()
}

/// A trace context that is this request's only.
fn trace(id: &str) -> String {
    let hex: String = id.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("00-{hex:0>32}-00f067aa0ba902b7-01")
}

/// Holds up what writes for so long.
fn hold_up(redis: &RedisServer, time: Duration) {
    ask::<()>(redis, &["CLIENT", "PAUSE", &time.as_millis().to_string(), "WRITE"]);
}

/// Every worker thread has a connection that was found fit.
fn warm_up(front: &Front) {
    for n in 0..32 {
        let answer = front.post("/i", &body("warm", "{}", n, 1));
        assert_eq!(answer.status, 202, "{answer:?}");
    }
}

/// The ids of an answer's postbacks.
fn ids(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 202, "{answer:?}");
    let json = answer.json();
    let batches = json["batches"].as_array().unwrap();
    let entry = |entry: &serde_json::Value| {
        let (first, rows) = (entry["first"].as_u64().unwrap(), entry["rows"].as_u64().unwrap());
        let id = entry["id"].as_str().unwrap().to_owned();
        (first..first + rows).map(move |row| format!("{id}-{row}"))
    };
    batches.iter().flat_map(entry).collect()
}

fn batch_of(id: &str) -> String {
    id.rsplit_once('-').unwrap().0.to_owned()
}

fn queue(redis: &RedisServer) -> Queue {
    Queue::open(&redis.url(), "pb", 1).unwrap()
}

/// Every batch in Redis.
async fn stored(redis: &RedisServer) -> Vec<StoredBatch> {
    let keys: Vec<String> = ask(redis, &["KEYS", "pb:{0}:batch:*"]);
    let ids = keys.iter().map(|key| key.rsplit(':').next().unwrap().parse().unwrap());
    let ids: Vec<_> = ids.collect();
    let found = queue(redis).shards()[0].batches(&ids).await.unwrap();
    found.into_iter().map(|(batch, _)| batch).collect()
}

#[tokio::test]
async fn small_requests_share_batches_and_each_row_knows_its_own_request() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    let requests: Vec<One> = (0..200).map(|n| (format!("r-{n}"), body("x", "{}", n, 1))).collect();
    hold_up(&redis, Duration::from_millis(300));
    let answers = send_all(&front, &requests);
    let all: Vec<String> = answers.iter().flat_map(ids).collect();
    let batches: BTreeSet<String> = all.iter().map(|id| batch_of(id)).collect();
    assert_eq!((all.len(), all.iter().collect::<BTreeSet<_>>().len()), (200, 200));
    assert!(batches.len() < 100, "{} batches", batches.len());

    let stored = stored(&redis).await;
    let names: BTreeSet<String> = stored.iter().map(|batch| batch.id.to_string()).collect();
    assert_eq!(names, batches);
    assert_eq!(stored.iter().map(|batch| usize::from(batch.rows)).sum::<usize>(), 200);
    assert_eq!(ask::<u64>(&redis, &["HGET", "pb:{0}:stats", "accepted"]), 200);
    let queue = queue(&redis);
    for (n, (answer, id)) in answers.iter().zip(&all).enumerate() {
        let request = format!("r-{n}");
        assert_eq!(answer.json()["request_id"], request.as_str());
        let shown = queue.postback(id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((shown.request_id, shown.url), (request, format!("http://a.com/x?k={n}")));
    }
    for n in [0, 99, 199] {
        let found = queue.find(&format!("r-{n}")).await.unwrap();
        assert_eq!(found.iter().map(|found| &found.id).collect::<Vec<_>>(), [&all[n]]);
    }
    for batch in &stored {
        let batch = Batch::decode(&batch.bytes).unwrap();
        let traces = batch.sources.iter().map(|s| (s.traceparent.clone(), s.received_at_ms > 0));
        let expect = batch.sources.iter().map(|source| (Some(trace(&source.request_id)), true));
        assert!(traces.eq(expect), "{:?}", batch.sources);
    }
}

#[tokio::test]
async fn cancelling_one_request_leaves_the_others_in_its_batch() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    let requests: Vec<One> = (0..40).map(|n| (format!("r-{n}"), body("x", "{}", n, 2))).collect();
    hold_up(&redis, Duration::from_millis(300));
    send_all(&front, &requests).iter().for_each(|answer| drop(ids(answer)));
    assert!(stored(&redis).await.len() < 20);
    let queue = queue(&redis);
    let asked = Filter { request: Some("r-20".into()), ..Filter::default() };
    let mut selection = queue.select(Revision::Cancel, asked, |_| {}).await.unwrap();
    assert_eq!((selection.rows, selection.step(&queue, 100).await.unwrap()), (2, 2));
    for n in 0..40 {
        let found = queue.find(&format!("r-{n}")).await.unwrap();
        let dead = found.iter().filter(|found| found.state == Standing::Dead).count();
        assert_eq!((found.len(), dead), (2, if n == 20 { 2 } else { 0 }), "r-{n}: {found:?}");
    }
}

#[tokio::test]
async fn other_endpoints_policies_and_delays_never_share_a_batch() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    let kinds = [
        ("x", "{}"),
        ("y", "{}"),
        ("x", r#"{"lane":"bulk"}"#),
        ("x", r#"{"timeout":"1s"}"#),
        ("x", r#"{"ref":"{k}"}"#),
        ("x", r#"{"delay":"1h"}"#),
        ("x", r#"{"delay":"2h"}"#),
        ("x", r#"{"unmatched":{"reject":true}}"#),
    ];
    let one = |n: usize| {
        let kind = n % kinds.len();
        (format!("{kind}.{n}"), body(kinds[kind].0, kinds[kind].1, n, 2))
    };
    hold_up(&redis, Duration::from_millis(300));
    let requests: Vec<One> = (0..160).map(one).collect();
    let answers = send_all(&front, &requests);
    assert_eq!(answers.iter().flat_map(ids).collect::<BTreeSet<_>>().len(), 320);
    let mut rows = BTreeMap::<String, usize>::new();
    let stored = stored(&redis).await;
    for batch in &stored {
        let batch = Batch::decode(&batch.bytes).unwrap();
        let kind = |id: &str| id.split_once('.').unwrap().0.to_owned();
        let first = kind(&batch.sources[0].request_id);
        assert!(batch.sources.iter().all(|s| kind(&s.request_id) == first), "{batch:?}");
        *rows.entry(first).or_default() += usize::from(batch.len());
    }
    assert!(rows.len() == kinds.len() && rows.values().all(|rows| *rows == 40), "{rows:?}");
    assert!(stored.len() < 80, "{} batches", stored.len());
    let due: Vec<String> = ask(&redis, &["ZRANGE", "pb:{0}:due", "0", "-1"]);
    let delayed = answers.iter().enumerate().filter(|(n, _)| [5, 6].contains(&(n % kinds.len())));
    let delayed = delayed.flat_map(|(_, answer)| ids(answer)).map(|id| batch_of(&id));
    assert_eq!(due.into_iter().collect::<BTreeSet<_>>(), delayed.collect());
}

#[tokio::test]
async fn a_large_request_has_batches_of_its_own() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    let wide = body("x", "{}", 0, 1).replace(r#""k":0"#, &format!(r#""k":"{}""#, "v".repeat(7000)));
    let mut requests: Vec<One> =
        (0..30).map(|n| (format!("small-{n}"), body("x", "{}", n, 1))).collect();
    requests.insert(9, ("many-0".into(), body("x", "{}", 0, 33)));
    requests.insert(19, ("many-1".into(), body("x", "{}", 0, 33)));
    // Each under 8 KiB, which a URL may have; together in one request over what is small.
    let long = format!("{},", wide.split_once("[").unwrap().1.strip_suffix("]}").unwrap());
    requests
        .push(("long-0".into(), wide.replace(r#""data":["#, &format!(r#""data":[{long}{long}"#))));
    hold_up(&redis, Duration::from_millis(300));
    send_all(&front, &requests).iter().for_each(|answer| drop(ids(answer)));
    let sources = |batch: &StoredBatch| {
        let batch = Batch::decode(&batch.bytes).unwrap();
        batch.sources.iter().map(|s| s.request_id.clone()).collect::<Vec<_>>()
    };
    let stored = stored(&redis).await;
    let small = stored.iter().map(sources).filter(|sources| sources[0].starts_with("small"));
    assert!(small.count() < 30);
    for batch in &stored {
        let sources = sources(batch);
        let is_small = |id: &String| id.starts_with("small");
        assert!(sources.len() == 1 || sources.iter().all(is_small), "{sources:?}");
    }
}

#[tokio::test]
async fn a_request_with_an_idempotency_key_shares_with_nobody() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    let one = |n: usize| {
        let kind = if n.is_multiple_of(3) { "key" } else { "free" };
        (format!("{kind}-{n}"), body("x", "{}", n, 1))
    };
    let requests: Vec<One> = (0..60).map(one).collect();
    hold_up(&redis, Duration::from_millis(300));
    send_all(&front, &requests).iter().for_each(|answer| drop(ids(answer)));
    let stored = stored(&redis).await;
    let (mut keyed, mut free) = (0, 0);
    for batch in &stored {
        let sources = Batch::decode(&batch.bytes).unwrap().sources;
        match sources.iter().any(|source| source.request_id.starts_with("key")) {
            true => assert_eq!(sources.len(), 1, "{sources:?}"),
            false => free += 1,
        }
        keyed += usize::from(sources[0].request_id.starts_with("key"));
    }
    assert!(keyed == 20 && free < 20, "{keyed} and {free}");
}

#[tokio::test]
async fn switched_off_each_request_has_its_own_batch() {
    for off in ["off", "0s"] {
        let redis = RedisServer::start();
        let front = Front::start(&redis.url_text(), &["--coalesce", off]);
        let requests: Vec<One> =
            (0..40).map(|n| (format!("r-{n}"), body("x", "{}", n, 1))).collect();
        hold_up(&redis, Duration::from_millis(100));
        send_all(&front, &requests).iter().for_each(|answer| drop(ids(answer)));
        assert_eq!(stored(&redis).await.len(), 40);
    }
}

#[tokio::test]
async fn a_refused_batch_is_refused_to_each_request_in_it() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    warm_up(&front);
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    let before = stored(&redis).await.len();
    let requests: Vec<One> = (0..40).map(|n| (format!("r-{n}"), body("x", "{}", n, 1))).collect();
    for answer in send_all(&front, &requests) {
        assert_eq!((answer.status, &answer.json()["code"]), (503, &"not_enqueued".into()));
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(stored(&redis).await.len(), before);
}

/// Asks until Redis has been killed; what was answered, by request.
fn ask_until_killed(front: &Front, redis: &mut RedisServer) -> Vec<(String, Answer, Duration)> {
    let mut answers = vec![];
    for round in 0..20 {
        let one = |n: usize| (format!("k-{round}-{n}"), body("x", "{}", 2 * n, 2));
        let requests: Vec<One> = (0..50).map(one).collect();
        let since = Instant::now();
        let streams = write_all(front, &requests);
        if round == 10 {
            redis.kill();
        }
        let told = streams.into_iter().map(|stream| (read(stream), since.elapsed()));
        let told = requests.iter().zip(told);
        answers.extend(told.map(|((id, _), (answer, took))| (id.clone(), answer, took)));
    }
    answers
}

#[tokio::test]
async fn with_redis_killed_every_client_hears_in_time_and_no_request_is_half_stored() {
    let mut redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &["--coalesce"]);
    warm_up(&front);
    let answers = ask_until_killed(&front, &mut redis);
    redis.up();
    let since = Instant::now();
    while front.get("/readyz").status != 200 {
        assert!(since.elapsed() < Duration::from_secs(20), "redis did not come back");
    }
    let mut rows = BTreeMap::<String, usize>::new();
    for batch in stored(&redis).await {
        let batch = Batch::decode(&batch.bytes).unwrap();
        for row in 0..batch.len() {
            *rows.entry(batch.source(row).request_id.clone()).or_default() += 1;
        }
    }
    let mut codes = BTreeSet::new();
    for (id, answer, took) in &answers {
        assert!(*took < Duration::from_secs(2), "{id} after {took:?}: {answer:?}");
        let stored = rows.get(id).copied().unwrap_or_default();
        let code = match answer.status {
            202 => "stored".to_owned(),
            503 => answer.json()["code"].as_str().unwrap().to_owned(),
            _ => panic!("{answer:?}"),
        };
        match code.as_str() {
            "stored" => assert_eq!(stored, 2, "{id}"),
            "not_enqueued" => assert_eq!(stored, 0, "{id}"),
            _ => assert!([0, 2].contains(&stored), "{id}: {stored}"),
        }
        codes.insert(code);
    }
    assert!(codes.contains("stored") && codes.contains("not_enqueued"), "{codes:?}");
}

#[tokio::test]
async fn who_goes_away_takes_nobody_else_s_rows_with_it() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    hold_up(&redis, Duration::from_millis(500));
    let (mut stay, mut go) = (vec![], vec![]);
    for n in 0..60 {
        let headers = [JSON, ("Expect", "100-continue")];
        let mut stream = TcpStream::connect(front.address).unwrap();
        stream.write_all(&request("POST", "/i", &headers, &body("x", "{}", n, 1))).unwrap();
        // The first in a gathering are among those who go away.
        if n < 20 { go.push(stream) } else { stay.push((n, stream)) }
    }
    for stream in go {
        // Closed with the interim answer unread, a connection is reset: ingest hears of that at once.
        stream.peek(&mut [0]).unwrap();
    }
    let queue = queue(&redis);
    for (n, mut stream) in stay {
        stream.read_exact(&mut [0; 25]).unwrap();
        let id = ids(&read(stream)).remove(0);
        let shown = queue.postback(id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(shown.url, format!("http://a.com/x?k={n}"));
    }
}

#[test]
fn a_stop_finishes_what_is_gathered() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &ON);
    let requests: Vec<Vec<u8>> = (0..20)
        .map(|n| {
            let headers = [JSON, ("Expect", "100-continue")];
            request("POST", "/i", &headers, &body("x", "{}", n, 1))
        })
        .collect();
    let begin = |whole: &Vec<u8>| {
        let mut stream = TcpStream::connect(front.address).unwrap();
        stream.write_all(&whole[..whole.len() - 1]).unwrap();
        // The interim answer tells that the request is in progress.
        stream.read_exact(&mut [0; 25]).unwrap();
        stream
    };
    let streams: Vec<TcpStream> = requests.iter().map(begin).collect();
    hold_up(&redis, Duration::from_millis(500));
    for mut stream in &streams {
        stream.write_all(b"}").unwrap();
    }
    drop(front);
    let all: BTreeSet<String> = streams.into_iter().flat_map(|stream| ids(&read(stream))).collect();
    let batches: BTreeSet<String> = all.iter().map(|id| batch_of(id)).collect();
    assert!(all.len() == 20 && batches.len() < 20, "{} in {}", all.len(), batches.len());
}
