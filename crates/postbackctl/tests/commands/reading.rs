//! What is shown, and what is set for hosts and the fleet.

use postback_core::{
    attempt::Cause,
    queue::{Recorded, State},
    testing::RedisServer,
};
use serde_json::Value;

use crate::support::{SEND, batches, end, enqueue, json, run, text};

#[test]
fn a_dry_run_shows_what_would_be_sent_and_stores_nothing() {
    let server = RedisServer::start();
    let shown = json(&server, &[&SEND[..], &["--dry-run"]].concat());
    let expected = serde_json::json!({
        "method": "GET", "url": "http://partner.example/p?id=8f3a&x=", "body": null,
        "headers": {"X-N": "1.10"}, "unmatched": ["x"],
    });
    assert_eq!(shown, expected);
    assert_eq!(json(&server, &["status"])["accepted"], 0);
}

#[test]
fn a_sent_postback_is_pending_until_a_worker_takes_it() {
    let server = RedisServer::start();
    let id = json(&server, &SEND)["id"].as_str().unwrap().to_owned();
    let shown = json(&server, &["show", &id]);
    assert_eq!((&shown["state"], &shown["ref"]), (&"pending".into(), &"8f3a".into()));
    assert_eq!(shown["url"], "http://partner.example/p?id=8f3a&x=");
    assert_eq!(shown["attempts"], serde_json::json!([]));
    assert_eq!(json(&server, &["find", "8f3a"])["postbacks"], serde_json::json!([shown]));
    let status = json(&server, &["status"]);
    assert_eq!((&status["pending"], &status["accepted"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn a_delivered_postback_is_found_in_the_log() {
    let server = RedisServer::start();
    let id = json(&server, &SEND)["id"].as_str().unwrap().to_owned();
    end(&server, State::Delivered, Recorded::Delivered).await;
    let shown = json(&server, &["show", &id]);
    assert_eq!(
        (&shown["state"], &shown["attempts"][0]["status"]),
        (&"delivered".into(), &410.into())
    );
    assert_eq!(json(&server, &["find", "8f3a"])["postbacks"][0], shown);
    let printed = text(&run(&server, &["show", &id]).stdout);
    assert!(!printed.contains('\u{1b}'), "{printed}");
    // Without the times, of which only the distances are the same each time.
    let told: Vec<_> = printed.lines().skip_while(|line| !line.contains("nginx")).collect();
    let told: Vec<_> = told.iter().map(|line| line.get(29..).unwrap_or_default().trim()).collect();
    let (settled, before) = told.split_last().unwrap();
    let sent = shown["attempts"][0]["traceparent"].as_str().unwrap();
    let expected = [
        "+0 ms  nginx began to read the request",
        "+1 ms  ingest had it",
        "+3 ms  stored in Redis",
        "+7 ms  attempt 1: a worker has its batch",
        "+8 ms  attempt 1: sent",
        &format!("> traceparent: {sent}"),
        "> X-N: 1.10",
        ">",
        "> {",
        "> \"id\":1}",
        "> …",
        "+9 ms  attempt 1: status 410  (1.5 ms)",
        "< \\u{1b}[2Jgone",
        "< …",
    ];
    assert_eq!(before, expected);
    assert!(settled.ends_with("  attempt 1: settled"), "{printed}");
    assert!(printed.contains("  came with traceparent 00-0af7651916cd43dd8448eb211c80319c-"));
}

#[tokio::test]
async fn the_status_tells_rates_and_what_is_left_of_leases() {
    let server = RedisServer::start();
    json(&server, &SEND);
    end(&server, State::Delivered, Recorded::Delivered).await;
    let client = redis::Client::open(server.url_text()).unwrap();
    let mut redis = client.get_connection().unwrap();
    let (now, _): (u64, u64) = redis::cmd("TIME").query(&mut redis).unwrap();
    // Whichever two minutes are looked at.
    for minute in [now / 60 - 1, now / 60, now / 60 + 1] {
        let key = format!("pb:{{0}}:minute:{minute}");
        let figures = ["accepted", "120", "delivered", "90", "dead", "6"];
        redis::cmd("HSET").arg(key).arg(&figures).exec(&mut redis).unwrap();
    }
    let status = json(&server, &["status"]);
    let rate = |name: &str| status[format!("{name}_per_second")].as_f64().unwrap();
    // The minute under way may just have begun.
    assert!((2.0..=4.0).contains(&rate("accepted")), "{status}");
    let of_accepted = ["delivered", "dead"].map(|name| rate(name) / rate("accepted"));
    assert!((of_accepted[0] - 0.75).abs() < 1e-9 && (of_accepted[1] - 0.05).abs() < 1e-9);
    let left = status["workers"][0]["lease_left_seconds"].as_f64().unwrap();
    assert!((0.0..=30.0).contains(&left), "{status}");
    let printed = text(&run(&server, &["status"]).stdout);
    assert!(printed.contains("/s\n") && printed.contains(" s\n"), "{printed}");
}

#[tokio::test]
async fn many_found_postbacks_have_a_line_each() {
    let server = RedisServer::start();
    let none = std::time::Duration::ZERO;
    enqueue(&server, "a.example", none, &batches("a.example", "few", 0..5)).await;
    enqueue(&server, "a.example", none, &batches("a.example", "many", 5..11)).await;
    let found = |request: &str| text(&run(&server, &["find", request]).stdout);
    assert_eq!(found("few").matches("stored in Redis").count(), 5);
    let many = found("many");
    assert_eq!(many.lines().count(), 8, "{many}");
    assert!(many.starts_with("id ") && many.contains("  pending "), "{many}");
    assert!(many.contains("\n6 postbacks; postbackctl show ID tells the whole of one\n"), "{many}");
    assert_eq!(json(&server, &["find", "many"])["postbacks"].as_array().unwrap().len(), 6);
}

#[tokio::test]
async fn dead_rows_are_listed_by_every_filter() {
    let server = RedisServer::start();
    let id = json(&server, &SEND)["id"].as_str().unwrap().to_owned();
    end(&server, State::Dead(Cause::Status), Recorded::Dead(Cause::Status)).await;
    let request = json(&server, &["show", &id])["request_id"].as_str().unwrap().to_owned();
    for (filter, listed) in [
        (&[][..], 1),
        (&["--cause", "status"], 1),
        (&["--cause", "timeout"], 0),
        (&["--status", "410"], 1),
        (&["--status", "500"], 0),
        (&["--host", "partner.example"], 1),
        (&["--host", "partner.example:80"], 1),
        (&["--host", "example"], 0),
        (&["--ref", "8f3a"], 1),
        (&["--ref", "8f3"], 0),
        (&["--request", &request], 1),
    ] {
        let found = json(&server, &[&["dead", "list"], filter].concat());
        assert_eq!(found["postbacks"].as_array().unwrap().len(), listed, "{filter:?}");
    }
}

#[test]
fn what_is_not_found_exits_with_1_and_says_how_far_the_log_goes() {
    let server = RedisServer::start();
    let out = run(&server, &["find", "nothing"]);
    assert_eq!((out.status.code(), text(&out.stdout)), (Some(1), String::new()));
    assert!(text(&out.stderr).contains("the delivery log is empty"));
    let id = format!("{}-0", "a".repeat(22));
    assert_eq!(run(&server, &["show", &id]).status.code(), Some(1));
}

#[test]
fn a_limit_is_set_for_every_lane_of_a_host_and_hosts_shows_it() {
    let server = RedisServer::start();
    let shown = |words: &[&str]| {
        let hosts = json(&server, &[&["hosts"], words].concat())["hosts"].clone();
        let told = |host: &Value| (host["name"].as_str().unwrap().to_owned(), host["rate"].clone());
        hosts.as_array().unwrap().iter().map(told).collect::<Vec<_>>()
    };
    assert_eq!(shown(&[]), []);
    json(&server, &SEND); // in the lane `bulk`
    json(&server, &["limit", "partner.example", "90/m"]);
    let limited = [
        "http://partner.example:80 bulk",
        "http://partner.example:80",
        "https://partner.example:443",
    ];
    assert_eq!(shown(&[]), limited.map(|name| (name.to_owned(), 1.5.into())));
    assert_eq!(shown(&["https"]).len(), 1);
    json(&server, &["limit", "http://partner.example", "0", "--lane", "bulk"]);
    let printed = text(&run(&server, &["hosts", "--busy"]).stdout);
    let line = |name: &str| {
        let line = printed.lines().find(|line| line.starts_with(&format!("{name}  ")));
        line.unwrap_or_else(|| panic!("{printed}"))
            .split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(line(limited[0]), "bulk 1 0 paused");
    assert_eq!(line(limited[1]), "0 1.5/s open");
    let lifted = text(&run(&server, &["limit", "partner.example:80", "none"]).stdout);
    assert!(lifted.contains("http://partner.example:80 bulk: no limit"), "{lifted}");
    assert_eq!(shown(&["http://"]).into_iter().filter(|(_, rate)| !rate.is_null()).count(), 0);
    for words in
        [["limit", "partner.example", "100"], ["limit", "a/b", "1/s"], ["limit", "a", "-1/s"]]
    {
        assert_eq!(run(&server, &words).status.code(), Some(2), "{words:?}");
    }
}

#[test]
fn a_paused_fleet_says_by_whom_and_why_until_it_goes_on() {
    let server = RedisServer::start();
    let of_four = |words: &[&str]| json(&server, &[words, &["--shards", "4"]].concat());
    let told = of_four(&["pause", "--reason", "maintenance"])["paused"].clone();
    assert!(told.as_str().unwrap().ends_with("Z: maintenance"), "{told}");
    assert_eq!(of_four(&["status"])["paused"], told);
    assert!(text(&run(&server, &["status"]).stdout).starts_with("PAUSED: by "));
    assert_eq!(of_four(&["resume"])["was"], told);
    assert_eq!(of_four(&["status"])["paused"], Value::Null);
    assert_eq!(text(&run(&server, &["resume"]).stdout), "was not paused\n");
    // A full Redis takes it too.
    let client = redis::Client::open(server.url_text()).unwrap();
    let full = ["SET", "maxmemory", "1"];
    redis::cmd("CONFIG").arg(&full).exec(&mut client.get_connection().unwrap()).unwrap();
    json(&server, &["pause"]);
    json(&server, &["resume"]);
}

#[test]
fn what_is_wrong_with_a_postback_to_send_is_told_whole() {
    let server = RedisServer::start();
    let wrong = ["send", "get", "http://{x}.example/", "--header=Host: a", "--row", "7"];
    for words in [&wrong[..], &[&wrong[..], &["--dry-run"]].concat()] {
        let out = run(&server, words);
        let error = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{error}");
        let lines: Vec<_> =
            error.lines().map(|line| line.split(": ").collect::<Vec<_>>()).collect();
        assert_eq!(lines[0][..2], ["postbackctl", "endpoint.method"], "{error}");
        let places: Vec<_> = lines[1..].iter().map(|line| line[0]).collect();
        assert_eq!(places, ["endpoint.url", "endpoint.headers.Host", "data[0]"], "{error}");
    }
}

#[test]
fn wrong_usage_exits_with_2_and_a_redis_away_with_1() {
    let server = RedisServer::start();
    assert_eq!(run(&server, &["show", "no-id"]).status.code(), Some(2));
    assert_eq!(run(&server, &["dead", "list", "--cause", "boredom"]).status.code(), Some(2));
    let away = run(&server, &["status", "--redis-url", "redis://u:secret@127.0.0.1:1"]);
    assert_eq!(away.status.code(), Some(1));
    let error = text(&away.stderr);
    assert!(
        error.contains("cannot reach redis at 127.0.0.1:1") && !error.contains("secret"),
        "{error}"
    );
}

#[test]
fn a_redis_in_trouble_is_named_and_no_command_waits_for_it() {
    let mut server = RedisServer::start();
    let check = |server: &RedisServer, words: &[&str], word: &str| {
        let out = run(server, words);
        let error = text(&out.stderr);
        assert_eq!(out.status.code(), Some(1), "{words:?}: {error}");
        assert!(error.contains(word), "{words:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{words:?}: {error}");
    };
    let client = redis::Client::open(server.url_text()).unwrap();
    let mut operator = client.get_connection().unwrap();
    let mut set = |words: &[&str]| {
        redis::cmd(words[0]).arg(&words[1..]).exec(&mut operator).unwrap();
    };
    set(&["REPLICAOF", "127.0.0.1", "1"]);
    check(&server, &["pause"], "READONLY");
    check(&server, &SEND, "READONLY");
    set(&["REPLICAOF", "NO", "ONE"]);
    set(&["CONFIG", "SET", "maxmemory", "1"]);
    check(&server, &SEND, "OOM");
    set(&["CONFIG", "SET", "maxmemory", "0"]);
    set(&["CONFIG", "SET", "requirepass", "secret"]);
    for words in [&["status"][..], &["pause"], &["hosts"], &["find", "8f3a"], &SEND] {
        check(&server, words, "NOAUTH");
    }
    server.kill();
    for words in [&["status"][..], &["pause"], &["hosts"], &["find", "8f3a"], &SEND] {
        check(&server, words, "cannot reach redis at");
    }
}
