//! Who may come in: tokens of both listeners, their files, and that no token is ever shown.

use std::{
    fs::{self, File},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use postback_core::testing::RedisServer;

use crate::{
    answers::problem,
    process::{Daemon, Running, daemon, ended, socket},
    support::{Answer, Front, GOOD, JSON, keys, read, request, send},
};

const ONE: &str = "first-token-0123456789";
const TWO: &str = "second-token-9876543210";
const OPERATOR: &str = "operator-token-5555555555";

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

fn file(redis: &RedisServer, name: &str, text: &str) -> PathBuf {
    let path = redis.dir().join(name);
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    path
}

fn front() -> (RedisServer, Front) {
    let redis = RedisServer::start();
    let clients = file(&redis, "tokens", &format!("# now\n{ONE}\n\n# from Monday\n{TWO}\n"));
    let operators = file(&redis, "operators", OPERATOR);
    let options = ["--token-file", clients.to_str().unwrap()];
    let admin = ["--admin-token-file", operators.to_str().unwrap()];
    let front = Front::start(&redis.url_text(), &[options, admin].concat());
    (redis, front)
}

fn post(front: &Front, path: &str, tokens: &[&str]) -> Answer {
    let given: Vec<_> = tokens.iter().map(|token| bearer(token)).collect();
    let given = given.iter().map(|value| ("Authorization", value.as_str()));
    let headers: Vec<_> = given.chain([JSON]).collect();
    send(front.address, &request("POST", path, &headers, GOOD))
}

#[test]
fn a_request_without_a_good_token_gets_401_and_stores_nothing() {
    let (redis, front) = front();
    let before = keys(&redis);
    let none = r#"Bearer realm="postback""#;
    let wrong = r#"Bearer realm="postback", error="invalid_token""#;
    for path in ["/ingest", "/i", "/ingest?dry_run=1", "/elsewhere"] {
        for (tokens, challenge) in [
            (&[][..], none),
            (&["no-token-0123456789"], wrong),
            (&[OPERATOR], wrong),
            (&[&ONE[1..]], wrong),
            (&[ONE, ONE], wrong),
        ] {
            let answer = post(&front, path, tokens);
            problem(&answer, 401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), Some(challenge), "{path} {tokens:?}");
        }
    }
    assert_eq!(keys(&redis), before);
}

#[test]
fn each_token_of_the_file_is_good() {
    let (_redis, front) = front();
    for token in [ONE, TWO] {
        assert_eq!(post(&front, "/ingest", &[token]).status, 202);
        assert_eq!(post(&front, "/ingest?dry_run=1", &[token]).status, 200);
        problem(&post(&front, "/elsewhere", &[token]), 404, "not_found");
    }
}

#[test]
fn an_idempotency_key_is_one_token_s_own() {
    let (_redis, front) = front();
    let post = |token| {
        let given = bearer(token);
        let headers = [JSON, ("Authorization", &given), ("Idempotency-Key", "a")];
        let answer = send(front.address, &request("POST", "/ingest", &headers, GOOD));
        assert_eq!(answer.status, 202, "{answer:?}");
        answer.json()["batches"][0]["id"].as_str().unwrap().to_owned()
    };
    let (one, two) = (post(ONE), post(TWO));
    assert_ne!(one, two);
    assert_eq!((post(ONE), post(TWO)), (one, two));
}

#[test]
fn health_needs_no_token_and_all_else_of_the_admin_listener_needs_its_own() {
    let (_redis, front) = front();
    for address in [front.address, front.admin] {
        for path in ["/healthz", "/readyz"] {
            assert_eq!(send(address, &request("GET", path, &[], "")).status, 200, "{path}");
        }
    }
    let get = |path, token| {
        let given = bearer(token);
        send(front.admin, &request("GET", path, &[("authorization", &given)], ""))
    };
    for path in ["/metrics", "/elsewhere", "/metrics/", "/%6detrics", "/healthz/x"] {
        problem(&send(front.admin, &request("GET", path, &[], "")), 401, "unauthorized");
        problem(&get(path, ONE), 401, "unauthorized");
    }
    assert_eq!(send(front.admin, &request("HEAD", "/metrics", &[], "")).status, 401);
    assert_eq!(get("/metrics", OPERATOR).status, 200);
    assert_eq!(get("/elsewhere", OPERATOR).status, 404);
}

/// A daemon with this file, and its socket.
fn start(redis: &RedisServer, tokens: &Path) -> Running {
    let options = ["--token-file", tokens.to_str().unwrap()];
    Running::start(daemon(&redis.url_text(), &socket(redis), &options))
}

fn status(redis: &RedisServer, token: &str) -> u16 {
    use std::io::Write;
    let mut stream = UnixStream::connect(socket(redis)).unwrap();
    let given = bearer(token);
    stream.write_all(&request("POST", "/i", &[JSON, ("Authorization", &given)], GOOD)).unwrap();
    read(stream).status
}

#[test]
fn sighup_swaps_the_tokens_and_a_bad_file_leaves_them_as_they_were() {
    let redis = RedisServer::start();
    let path = file(&redis, "tokens", ONE);
    let mut ingest = start(&redis, &path);
    assert_eq!((status(&redis, ONE), status(&redis, TWO)), (202, 401));

    fs::write(&path, format!("{ONE}\n{TWO}\n")).unwrap();
    assert_eq!((status(&redis, ONE), status(&redis, TWO)), (202, 401));
    ingest.signal("-HUP");
    assert!(ingest.until("--token-file").contains(": 2 tokens"));
    assert_eq!((status(&redis, ONE), status(&redis, TWO)), (202, 202));

    fs::write(&path, TWO).unwrap();
    ingest.signal("-HUP");
    ingest.until(": 1 tokens");
    assert_eq!((status(&redis, ONE), status(&redis, TWO)), (401, 202));

    fs::write(&path, format!("{ONE}\ntwo secrets")).unwrap();
    ingest.signal("-HUP");
    let line = ingest.until("the tokens stay as they were");
    assert!(
        line.contains("line 2") && line.contains("tokens") && !line.contains("secret"),
        "{line}"
    );
    assert_eq!((status(&redis, ONE), status(&redis, TWO)), (401, 202));

    fs::remove_file(&path).unwrap();
    ingest.signal("-HUP");
    ingest.until("cannot read --token-file");
    assert_eq!((status(&redis, ONE), status(&redis, TWO)), (401, 202));
    ingest.signal("-TERM");
    assert_eq!(ingest.end().0, Some(0));
}

#[test]
fn sighup_without_a_token_file_changes_nothing() {
    let redis = RedisServer::start();
    let mut ingest = Running::start(daemon(&redis.url_text(), &socket(&redis), &[]));
    ingest.signal("-HUP");
    ingest.until("no token file is set");
    assert_eq!(status(&redis, ONE), 202);
    ingest.signal("-TERM");
    assert_eq!(ingest.end().0, Some(0));
}

#[test]
fn a_bad_token_file_is_told_before_anything_is_bound() {
    let redis = RedisServer::start();
    let check = |option: &str, path: &Path, why: &str| {
        let options = [option, path.to_str().unwrap()];
        let (code, log) = ended(daemon(&redis.url_text(), &socket(&redis), &options));
        assert_eq!(code, Some(1), "{log}");
        assert!(log.contains(option) && log.contains(options[1]), "{log}");
        assert!(log.contains(why) && !log.contains("secret"), "{log}");
        assert!(!socket(&redis).exists());
    };
    for option in ["--token-file", "--admin-token-file"] {
        check(option, &redis.dir().join("missing"), "No such file");
        check(option, redis.dir(), "not a regular file");
        check(option, &file(&redis, "empty", "\n# nothing\n"), "there is no token in it");
        check(
            option,
            &file(&redis, "bad", &format!("{ONE}\ntwo secret words\n")),
            "line 2 is no token",
        );
    }
}

#[test]
fn a_token_file_that_others_may_read_is_warned_of() {
    let redis = RedisServer::start();
    let path = file(&redis, "tokens", ONE);
    let mut ingest = start(&redis, &path);
    for (mode, warned) in [
        (0o644, true),
        (0o604, true),
        (0o602, true),
        (0o660, true),
        (0o640, false),
        (0o600, false),
        (0o400, false),
    ] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        ingest.signal("-HUP");
        let log = ingest.until(": 1 tokens");
        assert_eq!(log.contains("is open to other users"), warned, "{mode:o}: {log}");
    }
}

#[test]
fn an_admin_listener_that_others_reach_starts_with_a_token() {
    let redis = RedisServer::start();
    let operators = file(&redis, "operators", OPERATOR);
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingest"));
    command.args(["--redis-url", &redis.url_text(), "--admin-listen", "0.0.0.0:0"]);
    command.arg("--listen").arg(format!("unix:{}", socket(&redis).display()));
    command.arg("--admin-token-file").arg(operators).stderr(std::process::Stdio::piped());
    let ingest = Running::start(command);
    ingest.signal("-TERM");
    assert_eq!(ingest.end().0, Some(0));
}

#[test]
fn no_token_is_in_the_log_at_any_level() {
    use std::io::Write;
    let redis = RedisServer::start();
    let path = file(&redis, "tokens", ONE);
    let log = redis.dir().join("log");
    let mut command =
        daemon(&redis.url_text(), &socket(&redis), &["--token-file", path.to_str().unwrap()]);
    // A file: at this level a pipe would fill up.
    let ingest = command.env("RUST_LOG", "trace").stderr(File::create(&log).unwrap());
    let mut ingest = Daemon(ingest.spawn().unwrap());
    let wait = |what: &str| {
        let until = Instant::now() + Duration::from_secs(60);
        while !fs::read_to_string(&log).unwrap_or_default().contains(what) {
            assert!(Instant::now() < until, "no `{what}` in the log");
            std::thread::yield_now();
        }
    };
    wait("listening on");
    assert_eq!((status(&redis, ONE), status(&redis, TWO)), (202, 401));
    for head in [
        format!(
            "GET /i HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {ONE}\r\n\r\n"
        ),
        format!("POST /i HTTP/1.1\r\nAuthorization: Bearer {ONE}\r\nbroken {ONE}\r\n\r\n"),
        format!("POST /i HTTP/1.1\r\nAuthorization: Bearer {ONE}\u{1}\r\n\r\n"),
        format!(
            "POST /i HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: {ONE} {ONE}\r\n\r\n"
        ),
    ] {
        let mut stream = UnixStream::connect(socket(&redis)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        assert!(read(stream).status >= 400, "{head}");
    }
    fs::write(&path, format!("{TWO}\nbad {ONE}")).unwrap();
    ingest.signal("-HUP");
    wait("the tokens stay as they were");
    ingest.signal("-TERM");
    assert_eq!(ingest.0.wait().unwrap().code(), Some(0));
    let log = fs::read_to_string(&log).unwrap();
    assert!(log.contains(" TRACE ") && log.contains(" DEBUG "), "{log}");
    for token in [ONE, TWO] {
        let at = log.find(&token[..12]);
        assert_eq!(at.map(|at| &log[at.saturating_sub(300)..at]), None);
    }
}
