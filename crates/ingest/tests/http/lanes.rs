//! The page `/hosts`: what waits, what is in flight, limits and breakers.

use std::time::Duration;

use postback_core::{
    endpoint::Origin,
    id::LaneId,
    queue::{LaneChange, Settle, Which},
};
use serde_json::{Value, json};

use crate::{
    answers::front,
    fleet::{AS_JSON, Fleet, HOSTILE, HTML, act, is_inert, look, store},
    support::{Front, ask},
};

fn lane_of(host: &str) -> LaneId {
    LaneId::of(&Origin::of_host(&format!("http://{host}")).unwrap()[0], None)
}

fn lanes(front: &Front, query: &str) -> Vec<Value> {
    let answer = look(front, &format!("/hosts?{query}"), AS_JSON);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["lanes"].as_array().unwrap().clone()
}

fn names(lanes: &[Value]) -> Vec<&str> {
    lanes.iter().map(|lane| lane["name"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn a_lane_is_told_with_all_that_is_known_of_it() {
    let (redis, front) = front(&[]);
    let told = format!("{}:7 {}:1 nonsense", lane_of("a.com"), lane_of("c.com"));
    let fleet = Fleet::start(&redis, &[("lanes", told.clone())]).await;
    fleet.queue.shards()[0].beat("w2", Which::First, &[("lanes", told)]).await.unwrap();
    store(&front, "b.com:8080", &["1"]);
    store(&front, "a.com", &["1"]);
    store(&front, "a.com", &["2"; 300]);
    let reason = format!("10 failures in a row: {HOSTILE}");
    let park = LaneChange::Park(lane_of("b.com:8080"), Duration::from_secs(30), reason.clone());
    let settle = Settle { number: 1, lanes: vec![park], ..Settle::default() };
    assert!(fleet.queue.shards()[0].settle("w", &settle).await.unwrap());
    let found = lanes(&front, "");
    assert_eq!(names(&found), ["http://a.com:80", "http://b.com:8080"], "the busiest first");
    assert_eq!(found[0]["in_flight"], 14);
    assert_eq!((&found[0]["rate"], &found[0]["parked_since"]), (&Value::Null, &Value::Null));
    assert_eq!((&found[1]["ready_batches"], &found[1]["in_flight"]), (&json!(1), &json!(0)));
    assert_eq!(found[1]["parked_because"], json!(reason));
    assert!(found[1]["parked_since"].is_string() && found[1]["served_from"].is_string());
    let page = look(&front, "/hosts", HTML);
    assert!(is_inert(&page), "{page:?}");
    for link in ["/requests?host=b.com%3A8080", "/dead?host=b.com%3A8080"] {
        assert!(page.body.contains(link), "{link} in {page:?}");
    }
    assert_eq!(names(&lanes(&front, "q=b.com")), ["http://b.com:8080"]);
    assert_eq!(lanes(&front, "q=nowhere"), [] as [Value; 0]);
}

#[tokio::test]
async fn a_limit_is_set_as_postbackctl_sets_it() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    store(&front, "a.com", &["1"]);
    fleet.fail(postback_core::attempt::Cause::Status, 404, "status 404").await;
    assert_eq!(lanes(&front, "busy=on"), [] as [Value; 0], "nothing waits");
    let set = |rate: &str| {
        let fields = [("host", "http://a.com:80"), ("lane", ""), ("rate", rate)];
        act(&front, "/hosts/limit", &fields, AS_JSON)
    };
    for (rate, expect) in [("100/s", json!(100.0)), ("0", json!(0.0)), ("none", Value::Null)] {
        let answer = set(rate);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["lanes"], json!(["http://a.com:80"]));
        assert_eq!(lanes(&front, "")[0]["rate"], expect);
        assert_eq!(lanes(&front, "busy=on").len(), usize::from(rate != "none"));
    }
    for (host, rate, names) in [
        ("a.com", "fast", "rate"),
        ("a.com", "", "rate"),
        ("//", "1/s", "host"),
        ("", "1/s", "host"),
    ] {
        let answer = act(&front, "/hosts/limit", &[("host", host), ("rate", rate)], AS_JSON);
        assert_eq!(answer.status, 400);
        assert!(answer.json()["detail"].as_str().unwrap().contains(names), "{answer:?}");
    }
    // Both default ports, known or not, and what has a label.
    let fields = [("host", "b.com"), ("rate", "5/s"), ("lane", "slow")];
    let page = act(&front, "/hosts/limit", &fields, HTML);
    assert_eq!((page.status, page.header("location")), (303, Some("/hosts?q=b.com")));
    let limited = lanes(&front, "q=b.com");
    assert_eq!(names(&limited), ["http://b.com:80 slow", "https://b.com:443 slow"]);
    let html = look(&front, "/hosts?q=b.com", HTML).body;
    assert!(html.contains("name=\"lane\" value=\"slow\""), "{html}");
}

#[tokio::test]
async fn ten_thousand_lanes_are_shown_in_pages() {
    let (redis, front) = front(&[]);
    // As if so many hosts had had rows.
    for some in (0..10_000).collect::<Vec<u32>>().chunks(500) {
        let mut command = vec!["HSET".to_owned(), "pb:{0}:names".to_owned()];
        for n in some {
            let host = format!("h{n:05}.com");
            command.extend([lane_of(&host).to_string(), format!("http://{host}:80")]);
        }
        let command: Vec<_> = command.iter().map(String::as_str).collect();
        let _: u64 = ask(&redis, &command);
    }
    let page = look(&front, "/hosts?q=h0", AS_JSON).json();
    assert_eq!(
        (&page["found"], &page["first"], &page["last"]),
        (&json!(10_000), &json!(1), &json!(100))
    );
    let last = look(&front, "/hosts?skip=9950", HTML).body;
    assert!(last.contains("shown from 9951 to 10000") && !last.contains(">Next<"), "{last}");
    assert!(last.contains("href=\"/hosts?skip=9850\""), "{last}");
    assert!(look(&front, "/hosts?skip=99999999", HTML).body.contains("10000 lanes"));
}
