//! A request over HTTP to a real `ingest`, its rows by a real `deliver` at a real partner.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Child,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Stack, program};

const SOON: Duration = Duration::from_secs(60);

pub(crate) struct Ingest {
    child: Child,
    socket: PathBuf,
}

impl Ingest {
    pub(crate) fn start(stack: &Stack) -> Ingest {
        let socket = stack.redis.dir().join("ingest.sock");
        let child = program("ingest")
            .env("REDIS_URL", stack.redis.url_text())
            .arg(format!("--listen=unix:{}", socket.display()))
            .args(["--admin-listen", "127.0.0.1:0"])
            .spawn()
            .unwrap();
        let since = Instant::now();
        while UnixStream::connect(&socket).is_err() {
            assert!(since.elapsed() < SOON, "ingest did not come up");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ingest { child, socket }
    }

    fn post(&self, body: &Value) -> (u16, Value) {
        Ingest::read(self.write(body, ""))
    }

    /// Asks and does not wait for the answer.
    pub(crate) fn write(&self, body: &Value, headers: &str) -> UnixStream {
        let body = body.to_string();
        let mut stream = UnixStream::connect(&self.socket).unwrap();
        let head = format!(
            "POST /ingest.php HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).unwrap();
        stream
    }

    pub(crate) fn read(mut stream: UnixStream) -> (u16, Value) {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn request(stack: &Stack, path: &str, data: Value) -> Value {
    let url = format!("http://127.0.0.1:{}{path}", stack.port);
    json!({"endpoint": {"method": "GET", "url": url}, "data": data})
}

fn targets(stack: &Stack) -> BTreeSet<String> {
    stack.seen().into_iter().map(|seen| seen.target).collect()
}

#[tokio::test]
async fn the_old_system_s_own_request_arrives_as_it_did() {
    let mut stack = Stack::start();
    stack.deliver(&[]);
    let rows = json!([
        {"key": "Azureus", "value": "Dendrobates"},
        {"key": "Phyllobates", "value": "Terribilis"}
    ]);
    let ingest = Ingest::start(&stack);
    let path = "/data?key={key}&value={value}&foo={bar}";
    let (status, answer) = ingest.post(&request(&stack, path, rows));
    assert_eq!(
        (status, &answer["accepted"], &answer["unmatched"]),
        (202, &json!(2), &json!({"bar": 2}))
    );
    stack.until(SOON, "delivery", |stats| stats.delivered == 2).await;
    let expected =
        ["/data?key=Azureus&value=Dendrobates&foo=", "/data?key=Phyllobates&value=Terribilis&foo="];
    assert_eq!(targets(&stack), expected.map(str::to_owned).into());
}

#[tokio::test]
async fn placeholders_go_by_their_own_names() {
    let mut stack = Stack::start();
    stack.deliver(&[]);
    let rows =
        json!([{"mascot": "Gopher", "location": "https://blog.golang.org/gopher/gopher.png"}]);
    let path = "/data?title={mascot}&image={location}&foo={bar}";
    let (status, _) = Ingest::start(&stack).post(&request(&stack, path, rows));
    assert_eq!(status, 202);
    stack.until(SOON, "delivery", |stats| stats.delivered == 1).await;
    let expected =
        "/data?title=Gopher&image=https%3A%2F%2Fblog.golang.org%2Fgopher%2Fgopher.png&foo=";
    assert_eq!(targets(&stack), BTreeSet::from([expected.to_owned()]));
}

#[tokio::test]
async fn a_request_of_ten_thousand_rows_is_forty_batches_and_each_row_arrives_once() {
    let mut stack = Stack::start();
    stack.deliver(&[]);
    let rows: Vec<Value> = (0..10_000).map(|n| json!({"n": n})).collect();
    let (status, answer) = Ingest::start(&stack).post(&request(&stack, "/d?n={n}", json!(rows)));
    assert_eq!((status, &answer["accepted"]), (202, &json!(10_000)));
    assert_eq!(answer["batches"].as_array().unwrap().len(), 40);
    stack.until(SOON, "delivery", |stats| stats.delivered == 10_000).await;
    let ids: BTreeSet<String> = stack.seen().iter().map(|seen| seen.id().to_owned()).collect();
    assert_eq!((stack.seen().len(), targets(&stack).len(), ids.len()), (10_000, 10_000, 10_000));
    // Row i of the first entry is `<id>-<first + i>`.
    let first = format!("{}-0", answer["batches"][0]["id"].as_str().unwrap());
    let shown = stack.queue.postback(first.parse().unwrap()).await.unwrap().unwrap();
    assert!(shown.url.ends_with("/d?n=0"), "{}", shown.url);
}

#[tokio::test]
async fn rows_of_requests_that_share_a_batch_arrive_once_each_and_the_log_knows_their_requests() {
    let mut stack = Stack::start();
    let ingest = Ingest::start(&stack);
    // Held up in Redis, requests gather.
    stack.redis_command(&["CLIENT", "PAUSE", "300", "WRITE"]);
    let trace = |n: usize| format!("00-{:032x}", n + 1);
    let asked: Vec<UnixStream> = (0..100)
        .map(|n| {
            let body = request(&stack, "/d?n={n}", json!([{"n": n}]));
            let trace = trace(n);
            let headers =
                format!("X-Request-Id: r-{n}\r\ntraceparent: {trace}-00f067aa0ba902b7-01\r\n");
            ingest.write(&body, &headers)
        })
        .collect();
    let mut batches = BTreeSet::new();
    let mut expected = BTreeSet::new();
    for (n, stream) in asked.into_iter().enumerate() {
        let (status, answer) = Ingest::read(stream);
        assert_eq!((status, &answer["request_id"]), (202, &json!(format!("r-{n}"))));
        let batch = &answer["batches"][0];
        batches.insert(batch["id"].as_str().unwrap().to_owned());
        let id = format!("{}-{}", batch["id"].as_str().unwrap(), batch["first"]);
        expected.insert((id, format!("/d?n={n}"), trace(n)));
    }
    assert!(batches.len() < 50, "{} batches", batches.len());
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |stats| stats.delivered == 100).await;
    let arrived = stack.seen().into_iter().map(|seen| {
        let trace = seen.headers["traceparent"][..35].to_owned();
        (seen.id().to_owned(), seen.target, trace)
    });
    let arrived: Vec<_> = arrived.collect();
    assert_eq!((arrived.len(), arrived.into_iter().collect()), (100, expected.clone()));
    for (id, target, _) in expected {
        let request = format!("r-{}", target.rsplit_once('=').unwrap().1);
        let logged = stack.queue.postback(id.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!((logged.request_id, logged.attempts.len()), (request, 1), "{id}");
        assert!(logged.url.ends_with(&target), "{}", logged.url);
    }
    let found = stack.queue.find("r-42").await.unwrap();
    assert!(found.len() == 1 && found[0].url.ends_with("/d?n=42"), "{found:?}");
}
