//! The overview's figures are what the partner saw.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{Daemons, Stack};

fn start() -> Daemons {
    let stack = Stack::start();
    let url = stack.redis.url_text();
    Daemons::start(stack, &url, &url)
}

fn rows(path: &str, n: u32) -> impl Iterator<Item = Value> {
    (0..n).map(move |n| json!({"path": path, "n": n}))
}

#[test]
fn the_overview_s_figures_are_the_partner_s_own_counts() {
    let daemons = start();
    // Fewer failures in a row than park the lane.
    let data: Vec<Value> =
        rows("ok", 40).chain(rows("status/404", 20)).chain(rows("flaky/1", 8)).collect();
    let url = format!("http://127.0.0.1:{}/{{+path}}?n={{n}}", daemons.stack.port);
    let body = json!({
        "endpoint": {"method": "GET", "url": url}, "data": data, "policy": {"retries": ["100ms"]}
    });
    assert_eq!(daemons.post_body(&body.to_string(), "").status, 202);
    daemons.until("every row's end", || {
        let totals = &daemons.page("/")["totals"];
        totals["delivered"] == 48 && totals["dead"] == 20
    });
    let seen = daemons.stack.seen();
    let to = |path: &str| seen.iter().filter(|seen| seen.target.starts_with(path)).count();
    let flaky: Vec<_> = seen.iter().filter(|seen| seen.target.starts_with("/flaky")).collect();
    let at_last = flaky.iter().map(|seen| seen.id()).collect::<BTreeSet<_>>().len();
    let page = daemons.page("/?span=8h");
    // What was counted lies in one minute or two, all of them in the span.
    for counts in [&page["totals"], &page["minutes"]["sums"]] {
        let outcomes = &counts["outcomes"];
        assert_eq!(counts["accepted"], data.len(), "{counts}");
        assert_eq!(counts["attempts"], seen.len(), "{counts}");
        assert_eq!(counts["delivered"], to("/ok") + at_last, "{counts}");
        assert_eq!(counts["dead"], to("/status/404"), "{counts}");
        assert_eq!(counts["retried"], at_last, "{counts}");
        assert_eq!(counts["failed"], to("/status/404") + flaky.len() - at_last, "{counts}");
        assert_eq!(outcomes["2xx"], to("/ok") + at_last, "{counts}");
        assert_eq!(outcomes["4xx"], to("/status/404"), "{counts}");
        assert_eq!(outcomes["5xx"], flaky.len() - at_last, "{counts}");
    }
    let minutes = &page["minutes"];
    assert_eq!(minutes["response"]["count"], seen.len());
    assert_eq!(minutes["accept_to_delivered"]["count"], page["totals"]["delivered"]);
    assert!(minutes["response"]["p50_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{minutes}");
    assert_eq!((&page["backlog_rows"], &page["dead_rows"]), (&json!(0), &json!(20)));
}

#[test]
fn both_daemons_tell_of_their_box_and_one_of_the_queue() {
    let daemons = start();
    daemons.until("the box and the queue's state", || {
        let page = daemons.page("/");
        let steps = page["minutes"]["steps"].as_array();
        let seen = steps.is_some_and(|steps| steps.iter().any(|s| s["backlog_rows"] == 0));
        seen && page["boxes"][0]["cores"].as_u64().is_some_and(|cores| cores > 0)
    });
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").expect("/proc is there");
    let boxes = &daemons.page("/")["boxes"];
    assert_eq!(boxes[0]["name"], name.trim(), "{boxes}");
    assert_eq!(boxes[0]["is_unseen"], false, "{boxes}");
    assert_eq!(boxes.as_array().map(Vec::len), Some(1), "two processes are one box: {boxes}");
}
