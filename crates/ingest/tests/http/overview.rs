//! The overview, over a Redis whose minutes a test has written.

use postback_core::testing::RedisServer;

use crate::{
    answers::front,
    support::{ask, request, send},
};

const HTML: (&str, &str) = ("Accept", "text/html");
const JSON: (&str, &str) = ("Accept", "application/json");
const EVIL: &str = "<script>alert(1)</script>\"'";

/// Writes the figures of the minute that is under way and the three before, so that one is whole whenever it is read.
fn fill(redis: &RedisServer, name: &str, fields: &[&str]) {
    let minute = ask::<(u64, u64)>(redis, &["TIME"]).0 / 60;
    for minute in minute - 3..=minute {
        let key = format!("pb:{{0}}:{name}:{minute}");
        ask::<u64>(redis, &[&["HSET", &key[..]], fields].concat());
    }
}

#[test]
fn a_box_s_name_is_inert_and_charts_bring_no_style_of_their_own() {
    let (redis, front) = front(&[]);
    fill(&redis, "health", &[EVIL, "5 250 150 2 900 2000 1 100 1000 2000"]);
    fill(&redis, "minute", &["accepted", "60", "2xx", "50", "5xx", "10", "a40", "50", "r40", "60"]);
    for span in ["1h", "8h", "48h"] {
        let page = send(front.admin, &request("GET", &format!("/?span={span}"), &[HTML], "")).body;
        assert!(!page.contains("<script>alert"), "{span}");
        assert!(page.contains("&#60;script&#62;alert(1)"), "{span}: {page}");
        for bad in [" style=", "<style", " onload=", "javascript:"] {
            assert!(!page.contains(bad), "{span}: {bad}");
        }
        let drawn = page.matches("role=\"img\" aria-label=").count();
        assert!(drawn >= 9 + 5, "{span}: {drawn} charts");
        assert_eq!(page.matches("<summary>Numbers</summary>").count(), drawn, "{span}");
        assert!(page.contains(&format!("href=\"/?span={span}\" aria-current=\"true\"")), "{span}");
    }
}

#[test]
fn an_empty_redis_has_an_overview_of_zeros() {
    let (_redis, front) = front(&[]);
    let page = send(front.admin, &request("GET", "/", &[JSON], "")).json();
    assert_eq!((&page["span"], &page["totals"]["attempts"]), (&"1h".into(), &0.into()));
    assert_eq!(page["minutes"]["steps"].as_array().map(Vec::len), Some(61));
    let step = &page["minutes"]["steps"][0];
    assert!(step["accept_to_delivered"]["p99_ms"].is_null() && step["backlog_rows"].is_null());
    assert_eq!(step["outcomes"]["timeout"], 0);
    assert!(page["paused"].is_null() && page["redis"]["memory_limit_bytes"].is_null());
}

#[test]
fn a_box_that_was_not_seen_for_two_minutes_is_marked() {
    let (redis, front) = front(&[]);
    let minute = ask::<(u64, u64)>(&redis, &["TIME"]).0 / 60 - 4;
    let key = format!("pb:{{0}}:health:{minute}");
    ask::<u64>(&redis, &["HSET", &key, "gone", "0 250 150 2 900 2000 1 100 1000 2000"]);
    let page = send(front.admin, &request("GET", "/", &[JSON], "")).json();
    let boxes = page["boxes"].as_array().expect("a list");
    let gone = boxes.iter().find(|seen| seen["name"] == "gone").expect("it is told of");
    assert_eq!((&gone["is_unseen"], &gone["cpu"]), (&true.into(), &0.25.into()));
    let page = send(front.admin, &request("GET", "/", &[HTML], "")).body;
    assert!(page.contains("unseen for over 2 minutes"));
}

#[test]
fn a_span_that_there_is_not_is_refused() {
    let (_redis, front) = front(&[]);
    for query in ["span=2h", "span=", "from=1h"] {
        let answer = send(front.admin, &request("GET", &format!("/?{query}"), &[JSON], ""));
        assert_eq!((answer.status, &answer.json()["status"]), (400, &400.into()), "{query}");
    }
}
