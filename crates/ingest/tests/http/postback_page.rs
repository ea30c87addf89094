//! `/postbacks/{id}`: the one shape as JSON, its life for people, and what can be done with it.

use postback_core::{
    attempt::Cause,
    queue::{Revision, Sent},
};
use serde_json::json;

use crate::{
    answers::problem,
    stage::{AS_JSON, Came, HTML, Stage},
    support::{request, send},
};

#[test]
fn as_json_it_is_the_one_shape_and_nothing_else() {
    let stage = Stage::new(&[]);
    let id = stage.row("a.com", "click-1");
    stage.attempt(id, Came::Dead(Cause::Status), 404, |record| {
        record.response_body = "no such click".into();
    });
    let known = stage.run(stage.queue.postback(id)).unwrap().unwrap();
    assert_eq!(stage.json(&format!("/postbacks/{id}")), serde_json::to_value(known).unwrap());
}

#[test]
fn the_timeline_tells_each_attempt_and_what_came_next() {
    let stage = Stage::new(&[]);
    let id = stage.row("a.com", "click-1");
    let page = stage.page(&format!("/postbacks/{id}")).body;
    assert!(
        page.contains("waits to be sent") && page.contains("No attempt is in the delivery log."),
        "{page}"
    );
    stage.attempt(id, Came::Retry(0), 0, |record| record.error = Some("connection refused".into()));
    stage.attempt(id, Came::Retry(3_600_000), 503, |record| {
        record.error = Some("status 503".into());
        record.response_body = "come back later".into();
        record.truncated = true;
    });
    let page = stage.page(&format!("/postbacks/{id}")).body;
    for text in [
        "stored in Redis",
        "attempt 1 began",
        "attempt 1 settled: connection refused",
        "attempt 2 settled: answer 503 in 12.3 ms",
        "next attempt due",
        "come back later</pre>",
        "The body went on",
        "<code>miss</code>",
        "+0.000 s",
        "12.3 ms",
        "href=\"/requests?host=a.com%3A80\"",
    ] {
        assert!(page.contains(text), "no {text} in {page}");
    }
}

#[test]
fn the_way_of_a_request_is_told_from_nginx_on_and_its_secrets_are_not() {
    let stage = Stage::new(&["--redact", "token"]);
    let id = stage.row("a.com", "click-1");
    stage.attempt(id, Came::Delivered, 200, |record| {
        record.accepted_at_ms = record.at_ms - 100;
        // The box's clock is a little ahead.
        record.received_at_ms = Some(record.at_ms - 90);
        record.nginx_at_ms = Some(record.at_ms - 93);
        record.reserved_at_ms = Some(record.at_ms - 10);
        record.sent = Some(Box::new(Sent {
            headers: vec![
                ("X-Click".into(), "click-1".into()),
                ("Authorization".into(), "Bearer secret".into()),
            ],
            body: Some(r#"{"token":"secret","a":1}"#.into()),
            truncated: false,
        }));
    });
    let page = stage.page(&format!("/postbacks/{id}")).body;
    let moments = [
        "nginx began to read the request",
        "ingest had it",
        "stored in Redis",
        "attempt 1: reserved by a worker",
        "attempt 1 began",
        "attempt 1 settled: answer 200 in 12.3 ms",
        "delivered",
    ];
    let cell = |moment: &str| format!("<td data-label=\"Moment\">{moment}</td>");
    let places: Vec<usize> = moments.iter().map(|m| page.find(&cell(m)).unwrap()).collect();
    assert!(places.is_sorted(), "{page}");
    assert!(page.contains("+0.003 s") && page.contains("−0.007 s"), "{page}");
    assert!(page.contains("the time of their box"), "{page}");
    for text in [
        "X-Click: click-1\nAuthorization: ***\n",
        "traceparent: 00-",
        "&#34;token&#34;:&#34;***&#34;",
    ] {
        assert!(page.contains(text), "no {text:?} in {page}");
    }
    let json = stage.json(&format!("/postbacks/{id}"));
    assert_eq!(json["attempts"][0]["request_headers"]["Authorization"], "***");
    assert!(!page.contains("secret") && !json.to_string().contains("secret"), "{json}");
    assert!(page.contains("headers=X-Click%3A+click-1%0AAuthorization%3A+***"), "{page}");
}

#[test]
fn a_dead_one_is_replayed_and_a_pending_one_cancelled_by_a_form() {
    let stage = Stage::new(&[]);
    let (id, sibling) = {
        let ids =
            stage.post(r#"{"endpoint":{"method":"GET","url":"http://a.com/"},"data":[{},{}]}"#);
        (ids[0], ids[1])
    };
    stage.attempt(id, Came::Dead(Cause::Status), 404, |_| {});
    stage.attempt(sibling, Came::Dead(Cause::Status), 404, |_| {});
    let path = format!("/postbacks/{id}");
    let state = |id| stage.json(&format!("/postbacks/{id}"))["state"].clone();
    let button = |word: &str| format!("<form method=\"post\" action=\"{path}/{word}\">");
    let page = stage.page(&path).body;
    assert!(page.contains(&button("replay")) && !page.contains(&button("cancel")), "{page}");
    let answer = stage.act(&format!("{path}/replay"), HTML);
    let place = answer.header("location").unwrap();
    assert_eq!((answer.status, place), (303, &*format!("{path}?done=replayed")));
    let page = stage.page(place).body;
    assert!(page.contains("Replayed: ") && page.contains(&button("cancel")), "{page}");
    assert_eq!((state(id), state(sibling)), ("pending".into(), "dead".into()));
    // Once more there is nothing to do.
    let answer = stage.act(&format!("{path}/replay"), AS_JSON);
    assert_eq!((answer.status, answer.json()), (200, json!({"id": id, "done": "nothing"})));
    assert_eq!(stage.act(&format!("{path}/cancel"), AS_JSON).json()["done"], "cancelled");
    assert_eq!((state(id), state(sibling)), ("dead".into(), "dead".into()));
    assert_eq!(stage.json(&path)["cause"], "cancelled");
    // A GET changes nothing, and neither does another site's page.
    assert_eq!(stage.page(&format!("{path}/replay")).status, 405);
    let foreign = [HTML, ("Content-Length", "0"), ("Origin", "http://evil.example")];
    let answer = send(stage.front.admin, &request("POST", &format!("{path}/replay"), &foreign, ""));
    assert_eq!((answer.status, state(id)), (403, "dead".into()));
}

#[test]
fn one_that_a_worker_holds_is_left_to_it_and_said_so() {
    let stage = Stage::new(&[]);
    let id = stage.row("a.com", "click-1");
    stage.hold();
    let answer = stage.act(&format!("/postbacks/{id}/cancel"), HTML);
    let place = answer.header("location").unwrap();
    assert_eq!((answer.status, place), (303, &*format!("/postbacks/{id}?done=held")));
    assert!(stage.page(place).body.contains("a worker holds it right now"));
    assert_eq!(stage.json(&format!("/postbacks/{id}"))["state"], "pending");
}

#[test]
fn a_delivered_one_is_sent_again_as_a_new_one() {
    let stage = Stage::new(&[]);
    let id = stage.row("a.com", "click 1&2");
    stage.attempt(id, Came::Delivered, 200, |_| {});
    let page = stage.page(&format!("/postbacks/{id}")).body;
    let link = "/try?method=GET&#38;url=http%3A%2F%2Fa.com%2Fx%3Fk%3Dclick%25201%25262%26miss%3D";
    assert!(page.contains(link) && page.contains("Send again as a new postback"), "{page}");
    assert!(!page.contains("<form method=\"post\""), "{page}");
    assert_eq!(stage.act(&format!("/postbacks/{id}/replay"), AS_JSON).json()["done"], "nothing");
}

#[test]
fn braces_that_were_sent_are_sent_again_as_they_are() {
    let stage = Stage::new(&[]);
    let id = stage.row("a.com", "click");
    let body = r#"{"a":{"b":"{c}"}}"#;
    stage.attempt(id, Came::Delivered, 200, |record| {
        let headers = vec![("X-A".to_owned(), "{d}".to_owned())];
        record.sent = Some(Box::new(Sent { headers, body: Some(body.into()), truncated: false }));
    });
    let page = stage.page(&format!("/postbacks/{id}")).body;
    let (_, link) = page.split_once("href=\"/try?").unwrap();
    let link = link.split('"').next().unwrap().replace("&#38;", "&");
    let form = link.replacen("method=GET", "method=POST", 1) + "&do=show";
    let kind = ("Content-Type", "application/x-www-form-urlencoded");
    let shown = send(stage.front.admin, &request("POST", "/try", &[AS_JSON, kind], &form)).json();
    assert_eq!(
        (&shown["dry_run"]["body"], &shown["dry_run"]["unmatched"]),
        (&body.into(), &json!([]))
    );
    let headers = shown["dry_run"]["headers"].as_array().unwrap();
    assert!(headers.contains(&json!(["X-A", "{d}"])), "{shown}");
}

#[test]
fn one_that_is_not_there_may_be_older_than_the_log() {
    let stage = Stage::new(&[]);
    let unknown = format!("/postbacks/{}-0", "0".repeat(22));
    assert!(stage.page(&unknown).body.contains("the delivery log, which is empty"));
    let id = stage.row("a.com", "click-1");
    stage.attempt(id, Came::Delivered, 200, |_| {});
    let page = stage.page(&unknown);
    assert_eq!(page.status, 404);
    assert!(page.body.contains("there never was one, or it was over before 20"), "{page:?}");
    let answer = send(stage.front.admin, &request("GET", &unknown, &[AS_JSON], ""));
    assert!(problem(&answer, 404, "not_found").contains("no postback 0000"));
    assert_eq!(stage.page("/postbacks/x").status, 404);
    let answer = stage.act("/postbacks/x/replay", AS_JSON);
    assert!(problem(&answer, 404, "not_found").contains("is not a postback id"));
    assert_eq!(stage.act(&format!("{unknown}/replay"), AS_JSON).json()["done"], "nothing");
}

#[test]
fn one_that_was_cancelled_and_dropped_is_not_said_to_wait() {
    let stage = Stage::new(&[]);
    let id = stage.row("a.com", "click-1");
    stage.attempt(id, Came::Retry(60_000), 503, |_| {});
    stage.act(&format!("/postbacks/{id}/cancel"), HTML);
    let placed = postback_core::queue::Placed { id: id.batch, depth: 0, from_tail: false };
    let shard = &stage.queue.shards()[0];
    stage.run(shard.revise(&[placed], Revision::Drop, |_| vec![0])).unwrap();
    let shown = stage.json(&format!("/postbacks/{id}"));
    assert_eq!(
        (&shown["state"], &shown["cause"], &shown["due_at"]),
        (&"dead".into(), &().into(), &().into())
    );
    assert_eq!(stage.ids("/requests"), [id.to_string()]);
    assert_eq!(stage.json("/requests")["postbacks"][0]["state"], "dead");
}

const HOSTILE: &str =
    "<script>alert(1)</script>\"'&\u{202e}\u{1b}[2J\u{0}</pre><img src=x onerror=alert(1)>";

#[test]
fn what_strangers_wrote_is_inert_and_readable() {
    let stage = Stage::new(&["--redact", "token"]);
    let long = "x".repeat(7000);
    let k = serde_json::to_string(HOSTILE).unwrap();
    let body = format!(
        r#"{{"endpoint":{{"method":"GET","url":"http://a.com/{{+k}}?long={long}&token={{k}}"}},"policy":{{"ref":"{{k}}"}},"data":[{{"k":{k}}}]}}"#
    );
    let answer = stage.front.post("/i", &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    let id = stage.ids("/requests?state=pending")[0].parse().unwrap();
    stage.attempt(id, Came::Dead(Cause::Protocol), 0, |record| {
        record.host = HOSTILE.into();
        record.error = Some(HOSTILE.into());
        record.request_id = HOSTILE.into();
        record.unmatched = vec![HOSTILE.into()];
    });
    stage.attempt_again(id, |record| record.response_body = HOSTILE.into());
    for path in [
        "/requests".to_owned(),
        format!("/postbacks/{id}"),
        "/requests?q=%3Cscript%3E&host=&since=&state=".to_owned(),
        "/requests?q=%22%3E%3Cscript%3E".to_owned(),
        "/requests?host=%22%3E%3Cscript%3E".to_owned(),
        "/requests?since=%3Cscript%3E".to_owned(),
        "/requests?before=%3Cscript%3E".to_owned(),
        format!("/postbacks/{id}?done=%3Cscript%3E"),
        "/postbacks/%3Cscript%3E".to_owned(),
    ] {
        let page = stage.page(&path);
        assert!([200, 400, 404].contains(&page.status), "{path}: {page:?}");
        let body = page.body;
        for bad in ["<script>", "<img", "onerror=alert(1)>", "\u{202e}", "\u{1b}", "\u{0}"] {
            assert!(!body.contains(bad), "{bad:?} at {path}: {body}");
        }
    }
    let page = stage.page(&format!("/postbacks/{id}")).body;
    assert!(
        page.contains("&#60;script&#62;") && page.contains(r"\u{202e}\u{1b}[2J\u{0}"),
        "{page}"
    );
    assert!(page.contains("token=***") && !page.contains("token=%3C"), "{page}");
    // A list has only the beginning of what is long.
    assert!(!stage.page("/requests").body.contains(&"x".repeat(200)));
}
