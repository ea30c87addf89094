//! `/requests`: every postback once, as it stands now, by filters and by cursor.

use std::time::{Duration, Instant};

use postback_core::{attempt::Cause, queue::Revision};

use crate::{
    stage::{AS_JSON, Came, Stage},
    support::ask,
};

#[test]
fn a_postback_is_shown_once_at_its_latest_attempt() {
    let stage = Stage::new(&[]);
    let one = stage.row("a.com", "click-1");
    let two = stage.row("b.com", "click-2");
    stage.attempt(one, Came::Retry(0), 503, |_| {});
    stage.attempt(two, Came::Delivered, 200, |_| {});
    stage.attempt(one, Came::Delivered, 204, |record| record.response_time_us = 1_500);
    let page = stage.json("/requests");
    let postbacks = page["postbacks"].as_array().unwrap();
    assert_eq!(postbacks.len(), 2, "{page}");
    assert_eq!(
        (&postbacks[0]["id"], &postbacks[1]["id"]),
        (&one.to_string().into(), &two.to_string().into())
    );
    assert_eq!(
        (&postbacks[0]["state"], &postbacks[0]["attempts_made"]),
        (&"delivered".into(), &2.into())
    );
    let attempts = postbacks[0]["attempts"].as_array().unwrap();
    assert_eq!((attempts.len(), &attempts[0]["status"]), (1, &204.into()));
    assert_eq!((&postbacks[0]["ref"], &page["next"]), (&"click-1".into(), &().into()));
    let html = stage.page("/requests");
    assert_eq!(html.status, 200);
    let link = format!("<a href=\"/postbacks/{one}\">");
    assert_eq!(html.body.matches(&link).count(), 1, "{}", html.body);
    for text in
        ["click-2", "<td data-label=\"Last status\">204</td>", "1.5 ms", "http://b.com/x?k=click-2"]
    {
        assert!(html.body.contains(text), "no {text} in {}", html.body);
    }
}

#[test]
fn pages_follow_one_another_without_a_gap_while_others_come_in() {
    let stage = Stage::new(&[]);
    let ids: Vec<String> = (0..7)
        .map(|n| {
            let id = stage.row("a.com", &format!("click-{n}"));
            // One that is tried twice is only on the page with its latest attempt.
            if n == 2 {
                stage.attempt(id, Came::Retry(0), 500, |_| {});
            }
            id.to_string()
        })
        .collect();
    for id in &ids {
        stage.attempt(id.parse().unwrap(), Came::Delivered, 200, |_| {});
    }
    let (mut seen, mut path) = (vec![], "/requests?limit=3&state=delivered".to_owned());
    loop {
        let page = stage.json(&path);
        let shown = page["postbacks"].as_array().unwrap().iter();
        seen.extend(shown.map(|postback| postback["id"].as_str().unwrap().to_owned()));
        let new = stage.row("a.com", "new");
        stage.attempt(new, Came::Delivered, 200, |_| {});
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/requests?limit=3&state=delivered&before={next}");
    }
    seen.reverse();
    assert_eq!(seen, ids);
    let html = stage.page("/requests?limit=3&host=a.com");
    let older = html.body.split("<a href=\"").find(|rest| rest.contains(">Older</a>")).unwrap();
    let link = older.split('"').next().unwrap().replace("&#38;", "&");
    assert!(link.starts_with("/requests?host=a.com&limit=3&before="), "{link}");
    assert!(stage.page(&link).body.contains(">Newest</a>"));
}

#[test]
fn what_was_replayed_is_on_no_further_page_as_it_was_before() {
    let stage = Stage::new(&[]);
    // Died at their second attempts; since then one waits to be tried again, one is delivered, one is dead again.
    let ids: Vec<_> = (0..3).map(|n| stage.row("a.com", &format!("click-{n}"))).collect();
    for id in &ids {
        stage.attempt(*id, Came::Retry(0), 500, |_| {});
        stage.attempt(*id, Came::Dead(Cause::Status), 404, |_| {});
    }
    // A dead row knows when it died to the second.
    let second = || stage.run(stage.queue.shards()[0].now_ms()).unwrap() / 1000;
    let (died, until) = (second(), Instant::now() + Duration::from_secs(10));
    while second() == died {
        assert!(Instant::now() < until, "time stands still");
        std::thread::sleep(Duration::from_millis(10));
    }
    let replayed = second() * 1000;
    for (id, came) in
        ids.iter().zip([Came::Retry(600_000), Came::Delivered, Came::Dead(Cause::Status)])
    {
        let answer = stage.act(&format!("/postbacks/{id}/replay"), AS_JSON);
        assert_eq!(answer.json()["done"], "replayed");
        stage.attempt(*id, came, 500, |_| {});
    }
    let (mut seen, mut path) = (vec![], "/requests?limit=1".to_owned());
    loop {
        let page = stage.json(&path);
        for postback in page["postbacks"].as_array().unwrap() {
            seen.push((postback["id"].to_string(), postback["state"].to_string()));
        }
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/requests?limit=1&before={next}");
    }
    let expect = [(2, "dead"), (1, "delivered"), (0, "pending")];
    let expect = expect.map(|(n, state)| (format!("\"{}\"", ids[n]), format!("\"{state}\"")));
    assert_eq!(seen, expect);
    // Each last changed after that, so none did before.
    let before = postback_core::view::time_text(replayed);
    assert_eq!(stage.ids(&format!("/requests?until={before}")), Vec::<String>::new());
}

#[test]
fn filters_choose_by_the_latest_attempt_and_the_present_state() {
    let stage = Stage::new(&[]);
    let good = stage.row("good.com", "good");
    let bad = stage.row("bad.com:8080", "bad");
    let late = stage.row("late.com", "late");
    let fresh = stage.row("fresh.com", "fresh");
    let gone = stage.row("gone.com", "gone");
    stage.attempt(good, Came::Retry(0), 503, |_| {});
    stage.attempt(good, Came::Delivered, 200, |_| {});
    stage.attempt(bad, Came::Dead(Cause::Status), 404, |_| {});
    stage.attempt(late, Came::Retry(60_000), 0, |record| {
        record.error = Some("no answer in 10 s".into())
    });
    stage.attempt(gone, Came::Retry(60_000), 503, |_| {});
    assert_eq!(stage.act(&format!("/postbacks/{gone}/cancel"), crate::stage::HTML).status, 303);
    let check = |query: &str, expect: &[postback_core::id::PostbackId]| {
        let expect: Vec<String> = expect.iter().map(ToString::to_string).collect();
        assert_eq!(stage.ids(&format!("/requests?{query}")), expect, "{query}");
    };
    check("", &[gone, late, bad, good]);
    check("state=delivered", &[good]);
    check("state=dead", &[bad]);
    // Also what was never tried.
    let mut pending = stage.ids("/requests?state=pending");
    pending.sort();
    let mut expect = [fresh, late].map(|id| id.to_string());
    expect.sort();
    assert_eq!(pending, expect);
    check("state=pending&host=late.com", &[late]);
    check("state=pending&host=nowhere.com", &[]);
    check("state=pending&method=POST", &[]);
    check("state=pending&cause=status", &[]);
    check("state=pending&status=5xx", &[]);
    check("host=bad.com:8080", &[bad]);
    check("host=bad.com", &[]);
    check("status=404", &[bad]);
    check("status=4xx", &[bad]);
    // Neither of these is at a 503 any more, or it is cancelled.
    check("status=503", &[gone]);
    check("status=0", &[late]);
    check("cause=status", &[bad]);
    check("cause=dns", &[]);
    check("method=GET&limit=2", &[gone, late]);
    check("method=POST", &[]);
    check("since=1h", &[gone, late, bad, good]);
    check("until=1h", &[]);
    check("since=2100-01-01T00:00:00Z", &[]);
    let page = stage.json("/requests");
    assert_eq!(
        (&page["postbacks"][0]["state"], &page["postbacks"][0]["cause"]),
        (&"dead".into(), &"cancelled".into())
    );
    assert_eq!(stage.page("/requests?state=lost").status, 400);
    // Replayed rows wait again.
    let shard = &stage.queue.shards()[0];
    let placed = postback_core::queue::Placed { id: bad.batch, depth: 0, from_tail: false };
    stage.run(shard.revise(&[placed], Revision::Replay, |_| vec![0])).unwrap();
    check("state=dead", &[]);
    let page = stage.json("/requests?host=bad.com:8080");
    assert_eq!(page["postbacks"][0]["state"], "pending", "{page}");
}

#[test]
fn a_search_finds_the_log_what_waits_and_what_is_dead() {
    let stage = Stage::new(&[]);
    let over = stage.row("a.com", "click-7");
    stage.attempt(over, Came::Retry(0), 503, |_| {});
    stage.attempt(over, Came::Delivered, 200, |_| {});
    let dead = stage.row("b.com", "click-7");
    stage.attempt(dead, Came::Dead(Cause::Status), 400, |_| {});
    let waits = stage.row("c.com", "click-7");
    let mut found = stage.ids("/requests?q=click-7");
    found.sort();
    let mut expect = [over, dead, waits].map(|id| id.to_string());
    expect.sort();
    assert_eq!(found, expect);
    assert_eq!(stage.ids("/requests?q=+click-7+&state=dead"), [dead.to_string()]);
    assert_eq!(stage.ids("/requests?q=click-7&status=2xx"), [over.to_string()]);
    assert_eq!(stage.ids("/requests?q=click"), [""; 0]);
    let page = stage.json(&format!("/requests?q={over}"));
    assert_eq!(page["postbacks"][0]["attempts"].as_array().unwrap().len(), 2, "{page}");
    let request = page["postbacks"][0]["request_id"].as_str().unwrap().to_owned();
    assert_eq!(stage.ids(&format!("/requests?q={request}")), [over.to_string()]);
    // A browser that asks by id is led to its page.
    let led = stage.page(&format!("/requests?q={over}"));
    assert_eq!((led.status, led.header("location")), (303, Some(&*format!("/postbacks/{over}"))));
    assert_eq!(stage.page("/requests?q=click-7").status, 200);
}

#[test]
fn what_is_not_found_may_be_older_than_the_log() {
    let stage = Stage::new(&[]);
    let empty = stage.page("/requests?q=click-1").body;
    assert!(empty.contains("nothing found; the delivery log is empty"), "{empty}");
    let id = stage.row("a.com", "click-2");
    stage.attempt(id, Came::Delivered, 200, |_| {});
    let begins = stage.json("/requests")["log_begins_at"].as_str().unwrap().to_owned();
    let page = stage.page("/requests?q=click-1").body;
    assert!(page.contains(&format!("the log begins at {begins}")), "{page}");
    let page = stage.json("/requests?q=click-1");
    assert_eq!(
        (&page["postbacks"], &page["log_begins_at"]),
        (&serde_json::json!([]), &begins.into())
    );
}

#[test]
fn an_entry_that_cannot_be_read_hides_no_other() {
    let stage = Stage::new(&[]);
    let id = stage.row("a.com", "click-1");
    stage.attempt(id, Came::Retry(0), 503, |_| {});
    let _: String = ask(&stage.redis, &["XADD", "pb:{0}:log", "*", "d", "damaged"]);
    let _: String = ask(&stage.redis, &["XADD", "pb:{0}:log", "*", "x", "of another"]);
    assert_eq!(stage.ids("/requests"), [id.to_string()]);
    assert_eq!(stage.ids("/requests?q=click-1"), [id.to_string()]);
}
