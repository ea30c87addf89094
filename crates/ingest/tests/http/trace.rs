//! When nginx began to read a request, as its postbacks tell it.

use std::time::{Duration, SystemTime};

use postback_core::{
    queue::Queue,
    testing::RedisServer,
    view::{Postback, time_text},
};

use crate::support::{Front, GOOD, JSON, request, send};

fn now() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap()
}

/// A header as nginx writes it: at `at`, `elapsed` after the first byte.
fn start(at: Duration, elapsed: Duration) -> String {
    format!("t={:.3};elapsed={:.3}", at.as_secs_f64(), elapsed.as_secs_f64())
}

async fn stored(redis: &RedisServer, front: &Front, headers: &[(&str, &str)]) -> Postback {
    let headers = [&[JSON], headers].concat();
    let answer = send(front.address, &request("POST", "/ingest", &headers, GOOD)).json();
    let id = format!("{}-0", answer["batches"][0]["id"].as_str().unwrap());
    let queue = Queue::open(&redis.url(), "pb", 1).unwrap();
    queue.postback(id.parse().unwrap()).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_trusted_proxy_tells_when_a_request_began_and_others_do_not() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    // Whole milliseconds, so that no rounding is in the way.
    let at = Duration::from_millis(now().as_millis() as u64);
    let elapsed = Duration::from_millis(1250);
    let told = start(at, elapsed);
    let began = time_text((at - elapsed).as_millis() as u64);
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("X-Request-Start", &told[..]), ("traceparent", trace)];
    let shown = stored(&redis, &front, &headers).await;
    assert_eq!(shown.nginx_at, Some(began.clone()));
    assert_eq!(shown.traceparent.as_deref(), Some(trace));
    assert!(shown.received_at.unwrap() > began);
    // What cannot be is not believed, nor is who is not trusted.
    let later = start(now() + Duration::from_secs(60), Duration::ZERO);
    let shown = stored(&redis, &front, &[("X-Request-Start", &later)]).await;
    assert_eq!((shown.nginx_at, shown.received_at.is_some()), (None, true));
    let strict = Front::start(&redis.url_text(), &["--trust-proxy", "none"]);
    assert_eq!(stored(&redis, &strict, &headers).await.nginx_at, None);
    assert_eq!(stored(&redis, &front, &[]).await.nginx_at, None);
}
