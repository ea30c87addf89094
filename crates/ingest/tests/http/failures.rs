//! The page `/errors`: groups of failures and their replay, and what the daemons complain of.

use postback_core::{attempt::Cause, queue::Notice};
use serde_json::{Value, json};

use crate::{
    answers::front,
    fleet::{AS_JSON, Fleet, HOSTILE, HTML, act, is_inert, look, store},
    support::{Answer, Front},
};

const SLOW: &str = "timeout: no answer within 10s";

fn groups(front: &Front, query: &str) -> Vec<Value> {
    let answer = look(front, &format!("/errors?{query}"), AS_JSON);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["groups"].as_array().unwrap().clone()
}

#[tokio::test]
async fn failures_of_one_kind_at_one_host_are_one_line() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    assert!(look(&front, "/errors", HTML).body.contains("No failures in this time."));
    store(&front, "a.com", &["1", "2"]);
    let slow = fleet.fail(Cause::Timeout, 0, SLOW).await;
    store(&front, "a.com", &["3"]);
    fleet.fail(Cause::Timeout, 0, "timeout: no answer within 250ms").await;
    store(&front, "b.com", &["4"]);
    fleet.fail(Cause::Status, 404, "status 404").await;
    let found = groups(&front, "");
    assert_eq!(found.len(), 2, "{found:?}");
    for (name, value) in [
        ("cause", json!("timeout")),
        ("error", json!("timeout: no answer within #")),
        ("host", json!("a.com:80")),
        ("attempts", json!(3)),
        ("postbacks", json!(3)),
        ("deaths", json!(3)),
    ] {
        assert_eq!(found[0][name], value, "{name}");
    }
    assert!(found[0]["samples"].as_array().unwrap().contains(&json!(slow[0])));
    assert_eq!(groups(&front, "cause=status"), found[1..]);
    assert_eq!(groups(&front, "host=b.com%3A80"), found[1..]);
    assert_eq!(groups(&front, "until=1h"), [] as [Value; 0]);
    let page = look(&front, "/errors", HTML).body;
    assert!(page.contains(&format!("href=\"/postbacks/{}\"", slow[0])), "{page}");
    assert!(page.contains("href=\"/requests?host=a.com%3A80&#38;cause=timeout&#38;since="));
    for query in ["cause=bad", "host=%2F", "since=soon"] {
        assert_eq!(look(&front, &format!("/errors?{query}"), AS_JSON).status, 400, "{query}");
    }
}

fn replay(front: &Front, group: &Value, more: &[(&str, &str)], accept: (&str, &str)) -> Answer {
    let text = |name: &str| group[name].as_str().unwrap();
    let fields = ["cause", "error", "host"].map(|name| (name, text(name)));
    act(front, "/errors/replay", &[&fields[..], more].concat(), accept)
}

#[tokio::test]
async fn a_group_s_dead_rows_are_replayed_and_no_others() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    store(&front, "a.com", &["1", "2"]);
    fleet.fail(Cause::Timeout, 0, SLOW).await;
    store(&front, "a.com", &["3"]);
    fleet.fail(Cause::Timeout, 0, "timeout: the body stalled").await;
    store(&front, "b.com", &["4"]);
    fleet.fail(Cause::Timeout, 0, SLOW).await;
    let group = groups(&front, "host=a.com")[0].clone();
    let counted = replay(&front, &group, &[], AS_JSON).json();
    assert_eq!((&counted["rows"], &counted["batches"]), (&json!(2), &json!(1)));
    let page = replay(&front, &group, &[], HTML).body;
    assert!(page.contains("2 dead rows in 1 batch will be replayed"), "{page}");
    assert!(page.contains("rows to a.com:80 that died of: timeout: no answer within #"), "{page}");
    assert!(page.contains("action=\"/errors/replay\""), "{page}");
    let run = replay(&front, &group, &[("confirm", "yes")], AS_JSON).json();
    assert_eq!((&run["state"], &run["changed"]), (&json!("done"), &json!(2)));
    let stats = fleet.stats().await;
    assert_eq!((stats.dead, stats.pending), (2, 2));
    let again = replay(&front, &group, &[], HTML).body;
    assert!(again.contains("There are none now."), "{again}");
}

#[tokio::test]
async fn the_daemons_own_warnings_are_told_apart() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    let notice = Notice {
        at: "2026-01-02T03:04:05.006Z".into(),
        host: "box7".into(),
        program: "deliver".into(),
        pid: 77,
        level: "ERROR".into(),
        text: format!("no connection could be opened {HOSTILE}"),
    };
    fleet.queue.keep_notices(std::slice::from_ref(&notice)).await.unwrap();
    let told = look(&front, "/errors", AS_JSON).json()["daemons"][0].clone();
    for (name, value) in [
        ("at", json!(notice.at)),
        ("box", json!("box7")),
        ("program", json!("deliver")),
        ("pid", json!(77)),
        ("level", json!("ERROR")),
        ("text", json!(notice.text)),
    ] {
        assert_eq!(told[name], value, "{name}");
    }
    let page = look(&front, "/errors", HTML);
    assert!(is_inert(&page), "{page:?}");
}

#[tokio::test]
async fn hostile_error_texts_are_inert() {
    let (redis, front) = front(&[]);
    let fleet = Fleet::start(&redis, &[]).await;
    store(&front, "a.com", &["1"]);
    let error = format!("protocol: the partner said {}", HOSTILE.replace('\'', ""));
    fleet.fail(Cause::Protocol, 0, &error).await;
    // Numbers, and what would move something, are left out of a group's text.
    let inert = "script&#62;alert(#)&#60;/script&#62;#[#J#x";
    let check = |page: &Answer| {
        assert!(page.body.contains(inert), "{page:?}");
        let lives = ["<script>alert", "\u{1b}", "\u{202e}", "\"'><"];
        assert!(!lives.iter().any(|text| page.body.contains(text)), "{page:?}");
    };
    check(&look(&front, "/errors", HTML));
    let counted = replay(&front, &groups(&front, "")[0], &[], HTML);
    assert!(counted.body.contains("1 dead row in 1 batch"), "{counted:?}");
    check(&counted);
}
