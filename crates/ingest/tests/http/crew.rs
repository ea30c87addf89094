//! The page `/workers`: who sends, and the fleet's pause.

use serde_json::{Value, json};

use crate::{
    answers::front,
    fleet::{AS_JSON, Fleet, HOSTILE, HTML, act, is_inert, look},
};

#[tokio::test]
async fn a_worker_is_told_with_its_box_lease_and_figures() {
    let (redis, front) = front(&[]);
    assert!(look(&front, "/workers", HTML).body.contains("is deliver running?"));
    let figures = [
        ("box", HOSTILE.to_owned()),
        ("pid", "4711".to_owned()),
        ("in_flight", "12".to_owned()),
        ("queued", "34".to_owned()),
        ("since", "2026-01-02T03:04:05.006Z".to_owned()),
    ];
    let _fleet = Fleet::start(&redis, &figures).await;
    let page = look(&front, "/workers", AS_JSON).json();
    assert_eq!((&page["paused"], &page["taken_over"]), (&Value::Null, &json!(0)));
    let worker = &page["workers"][0];
    for (name, value) in [
        ("worker", json!("w")),
        ("box", json!(HOSTILE)),
        ("pid", json!("4711")),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
        ("in_flight", json!("12")),
        ("queued", json!("34")),
        ("since", json!("2026-01-02T03:04:05.006Z")),
        ("held_batches", json!(0)),
    ] {
        assert_eq!(worker[name], value, "{name}");
    }
    let lease = worker["lease_seconds"].as_f64().unwrap();
    assert!((0.0..=30.0).contains(&lease), "{lease}");
    let page = look(&front, "/workers", HTML);
    assert!(is_inert(&page), "{page:?}");
}

#[tokio::test]
async fn the_fleet_is_paused_and_resumed_and_every_page_tells() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    let shard = &fleet.queue.shards()[0];
    let reason = format!("the partner moves {HOSTILE}");
    let paused = act(&front, "/workers/pause", &[("reason", &reason)], HTML);
    assert_eq!((paused.status, paused.header("location")), (303, Some("/workers")));
    let text = shard.paused().await.unwrap().unwrap();
    assert!(text.starts_with("by somebody at 127.0.0.1 on the pages since 20"), "{text}");
    assert!(text.ends_with(&reason), "{text}");
    assert_eq!(look(&front, "/workers", AS_JSON).json()["paused"], json!(text));
    for path in ["/workers", "/dead", "/hosts", "/errors", "/try"] {
        let page = look(&front, path, HTML).body;
        assert!(page.contains("The fleet is paused: by somebody at 127.0.0.1"), "{path}: {page}");
        assert!(!page.contains("<script>alert"), "{path}");
    }
    assert!(look(&front, "/workers", HTML).body.contains("action=\"/workers/resume\""));
    let resumed = act(&front, "/workers/resume", &[], AS_JSON).json();
    assert_eq!((&resumed["paused"], &resumed["was"]), (&Value::Null, &json!(text)));
    assert_eq!(shard.paused().await.unwrap(), None);
    assert!(look(&front, "/workers", HTML).body.contains("action=\"/workers/pause\""));
    // Without a reason, and a second time.
    let again = act(&front, "/workers/pause", &[], AS_JSON).json();
    assert!(!again["paused"].as_str().unwrap().ends_with(": "), "{again}");
}

#[tokio::test]
async fn what_acts_is_not_done_by_looking_nor_for_other_sites() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    for path in [
        "/workers/pause",
        "/workers/resume",
        "/hosts/limit",
        "/dead/replay",
        "/dead/drop",
        "/dead/stop",
        "/errors/replay",
    ] {
        let looked = look(&front, path, AS_JSON);
        assert_eq!((looked.status, looked.header("allow")), (405, Some("POST")), "{path}");
        let foreign = act(&front, path, &[], ("Origin", "http://evil.example"));
        assert_eq!(foreign.status, 403, "{path}: {foreign:?}");
    }
    let foreign = act(&front, "/try", &[("do", "send")], ("Sec-Fetch-Site", "cross-site"));
    assert_eq!(foreign.status, 403);
    assert_eq!(fleet.queue.shards()[0].paused().await.unwrap(), None);
}
