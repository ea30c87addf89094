//! What is other on a terminal, and what a reader that goes away is to a command.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::support::{SEND, json, run, text};

/// What a terminal of so many columns gets to see of a command, both streams.
fn on_terminal(server: &RedisServer, columns: u16, words: &str) -> String {
    let program = env!("CARGO_BIN_EXE_postbackctl");
    let line = format!("stty cols {columns}; exec {program} {words}");
    let mut script = Command::new("script");
    script.args(["-qec", &line, "/dev/null"]).env("REDIS_URL", server.url_text());
    let out = script.env_remove("COLUMNS").stdin(Stdio::null()).output();
    text(&out.expect("script is installed (bsdutils)").stdout)
}

const LONG: [&str; 5] = [
    "send",
    "GET",
    "https://a-very-long-name-of-a-partner.postbacks.example:8443/p",
    "--policy",
    r#"{"ref":"a-click-with-a-long-reference-and-a-longer-one-still"}"#,
];

#[test]
fn a_table_fits_the_terminal_and_nothing_is_cut_elsewhere() {
    let server = RedisServer::start();
    let id = json(&server, &LONG)["id"].as_str().unwrap().to_owned();
    json(&server, &["cancel", "--yes"]);
    let whole = text(&run(&server, &["dead", "list"]).stdout);
    assert!(whole.contains("a-click-with-a-long-reference-and-a-longer-one-still"), "{whole}");
    assert!(whole.contains("a-very-long-name-of-a-partner.postbacks.example:8443"), "{whole}");
    for columns in [100, 120] {
        let shown = on_terminal(&server, columns, "dead list");
        let wide = shown.lines().find(|line| line.chars().count() > usize::from(columns));
        assert_eq!(wide, None, "{shown}");
        assert!(shown.contains(&id) && shown.contains('…'), "{shown}");
        assert!(shown.contains("cancelled"), "{shown}");
    }
    // The end of a host tells as much as its beginning.
    assert!(on_terminal(&server, 100, "hosts").contains(":8443"));
    let narrow = on_terminal(&server, 20, "dead list");
    assert!(narrow.contains(&id), "an id is never cut: {narrow}");
}

#[test]
fn numbers_stand_one_under_the_other() {
    let server = RedisServer::start();
    json(&server, &SEND);
    let shown = text(&run(&server, &["status"]).stdout);
    let end = |name: &str| {
        let line = shown.lines().find(|line| line.starts_with(name)).unwrap();
        let number = line.split("  ").map(str::trim).find(|word| word.parse::<u64>().is_ok());
        line.find(number.unwrap()).unwrap() + number.unwrap().len()
    };
    let ends = ["pending", "accepted", "backlog bytes", "log bytes"].map(end);
    assert!(ends.iter().all(|end| *end == ends[0]), "{shown}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let server = RedisServer::start();
    let id = json(&server, &SEND)["id"].as_str().unwrap().to_owned();
    for words in [
        &["status"][..],
        &["status", "--json"],
        &["status", "--watch", "100ms"],
        &["hosts"],
        &["show", &id],
        &["find", "8f3a"],
        &["dead", "list"],
        &["cancel"],
        &["man"],
        &["completions", "bash"],
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_postbackctl"));
        command.args(words).env("REDIS_URL", server.url_text()).stdout(writer);
        let out = command.stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap();
        assert_eq!((out.status.code(), text(&out.stderr)), (Some(0), String::new()), "{words:?}");
    }
    // Nor is one that does not read standard error.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbackctl"));
    command.args(["find", "nothing"]).env("REDIS_URL", server.url_text()).stderr(writer);
    assert_eq!(command.status().unwrap().code(), Some(1));
}

#[test]
fn a_long_replay_tells_how_far_it_is_on_a_terminal() {
    let server = RedisServer::start();
    for _ in 0..30 {
        json(&server, &SEND);
    }
    json(&server, &["cancel", "--yes"]);
    let shown = on_terminal(&server, 80, "dead replay --rate 20/s --yes");
    let told = shown.split('\r').find(|line| line.contains(" of 30 rows, "));
    let told = told.unwrap_or_else(|| panic!("{shown}"));
    assert!(told.contains("/s"), "{told}");
    assert!(shown.contains("\nreplayed: 30 dead rows"), "the line is ended: {shown:?}");
    // Elsewhere a line every ten seconds, so none here.
    json(&server, &["cancel", "--yes"]);
    let out = run(&server, &["dead", "replay", "--rate", "20/s", "--yes"]);
    assert_eq!(
        (text(&out.stdout), text(&out.stderr)),
        ("replayed: 30 dead rows\n".into(), "".into())
    );
}

#[test]
fn a_watched_status_follows_what_happens_and_outlives_a_redis_away() {
    let mut server = RedisServer::start();
    let mut command = Command::new(env!("CARGO_BIN_EXE_postbackctl"));
    command.args(["status", "--watch", "100ms"]).env("REDIS_URL", server.url_text());
    let log = server.dir().join("watched");
    let mut child = command.stdout(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let await_text = |expected: &dyn Fn(&str) -> bool, what: &str| {
        let since = Instant::now();
        while !expected(&std::fs::read_to_string(&log).unwrap()) {
            assert!(since.elapsed() < Duration::from_secs(30), "{what} was not shown");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let pending = |n: u8| {
        move |text: &str| {
            let first = |line: &str| line.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
            text.lines().any(|line| first(line) == format!("pending {n}"))
        }
    };
    await_text(&pending(0), "an empty queue");
    json(&server, &SEND);
    await_text(&pending(1), "a row");
    server.kill();
    await_text(&|text| text.contains("redis"), "redis away");
    server.up();
    json(&server, &SEND);
    await_text(&pending(2), "a second row");
    child.kill().unwrap();
    child.wait().unwrap();
    let out = run(&server, &["status", "--watch", "--json"]);
    assert_eq!(out.status.code(), Some(2));
    for wrong in ["0", "5 minutes", "-1"] {
        let out = run(&server, &["status", &format!("--watch={wrong}")]);
        assert_eq!(out.status.code(), Some(2), "{wrong}");
    }
}
