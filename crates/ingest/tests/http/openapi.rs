//! `openapi.json` tells the truth: paths and methods, what a request may be, and every answer.

mod described;
mod requests;

use std::{fs, path::Path};

use postback_core::testing::RedisServer;
use serde_json::{Value, json};

use self::described::{DOCUMENT, Described, document};
use crate::support::{Front, GOOD, JSON, ask, request, send};

/// Every path with its operations' methods.
fn operations() -> Vec<(String, Vec<String>)> {
    let methods = |path: &Value| {
        let keys = path.as_object().unwrap().keys().filter(|key| *key != "summary");
        keys.cloned().collect()
    };
    let document = document();
    let paths = document["paths"].as_object().unwrap();
    paths.iter().map(|(path, value)| (path.clone(), methods(value))).collect()
}

/// What the README shows after this mark.
fn block(mark: &str) -> String {
    let readme = include_str!("../../../../README.md");
    let text = readme.split(mark).nth(1).unwrap().split("```").nth(1).unwrap();
    text.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn it_is_served_to_clients_as_it_stands() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    let answer = front.get("/openapi.json");
    assert_eq!((answer.status, answer.body.as_str()), (200, DOCUMENT));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("public, max-age=3600"));
    let head = send(front.address, &request("HEAD", "/openapi.json", &[], ""));
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    assert_eq!(head.header("content-length"), Some(DOCUMENT.len().to_string().as_str()));
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1."));
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn its_paths_take_its_methods_and_no_other() {
    let redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &[]);
    let mut described = Described::new();
    for (path, methods) in operations() {
        for method in ["get", "head", "post", "put", "patch", "delete", "options"] {
            let upper = method.to_uppercase();
            let answer = send(front.address, &request(&upper, &path, &[JSON], ""));
            if methods.iter().any(|known| known == method) {
                assert!(![404, 405].contains(&answer.status), "{upper} {path}: {answer:?}");
                continue;
            }
            assert_eq!(answer.status, 405, "{upper} {path}: {answer:?}");
            let allow = methods.join(", ").to_uppercase();
            assert_eq!(answer.header("allow"), Some(allow.as_str()), "{path}");
            if method != "head" {
                described.check_response("/components/responses/MethodNotAllowed", &answer);
            }
        }
    }
}

#[test]
fn every_schema_in_it_is_one() {
    fn walk(value: &Value, at: &str, described: &mut Described) {
        let named = value.as_object().into_iter().flatten().map(|(key, v)| (key.clone(), v));
        let listed = value.as_array().into_iter().flatten().enumerate();
        for (key, value) in named.chain(listed.map(|(n, v)| (n.to_string(), v))) {
            let is_schema = key == "schema" || at == "/components/schemas";
            let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
            if is_schema {
                described.schema(&at);
            } else {
                if let Some(shared) = value["$ref"].as_str() {
                    let target = shared.strip_prefix('#').unwrap();
                    assert!(document().pointer(target).is_some(), "{at}: {shared}");
                }
                walk(value, &at, described);
            }
        }
    }
    walk(&document(), "", &mut Described::new());
}

#[test]
fn the_readmes_request_and_answer_are_as_it_says() {
    let mut described = Described::new();
    let sample = serde_json::from_str(&block("<!-- sample request -->")).unwrap();
    assert_eq!(described.fault("/components/schemas/Request", &sample), None);
    let example = "/paths/~1ingest/post/requestBody/content/application~1json/example";
    let example = document().pointer(example).unwrap().clone();
    assert_eq!(described.fault("/components/schemas/Request", &example), None);
    let answer = block("and is answered, once Redis has it:");
    let answer = answer.replacen('…', "5f0c", 1).replacen('…', &"a".repeat(22), 1);
    let answer = serde_json::from_str(&answer).unwrap();
    assert_eq!(described.fault("/components/schemas/Accepted", &answer), None);
}

#[test]
fn real_answers_are_as_it_says() {
    let mut redis = RedisServer::start();
    let front = Front::start(&redis.url_text(), &["--max-body", "10KiB", "--max-rows", "300"]);
    let mut described = Described::new();
    let mut post = |path: &str, headers: &[(&str, &str)], body: &str, status: u16| {
        let answer = send(front.address, &request("POST", path, headers, body));
        assert_eq!(answer.status, status, "{answer:?}");
        described.check("/ingest", "post", &answer);
    };
    let rows = |n| GOOD.replace(r#"[{"k":1},{"k":2}]"#, &format!("[{}]", vec!["{}"; n].join(",")));
    for path in ["/ingest", "/ingest.php", "/i"] {
        post(path, &[JSON], GOOD, 202);
    }
    post("/ingest", &[JSON], &rows(300), 202);
    post("/ingest?dry_run=1", &[JSON], GOOD, 200);
    post("/ingest?dry_run=1", &[JSON], &GOOD.replace("GET", "POST"), 200);
    for wrong in ["", "nonsense", "[]", "{}", r#"{"x":1,"y":2,"endpoint":3}"#] {
        post("/ingest", &[JSON], wrong, 400);
    }
    post("/ingest?dry_run=yes", &[JSON], GOOD, 400);
    post("/ingest", &[JSON], &rows(301), 413);
    post("/ingest", &[JSON], &" ".repeat(10 * 1024 + 1), 413);
    post("/ingest", &[], GOOD, 415);
    post("/ingest", &[JSON, ("Content-Encoding", "br")], GOOD, 415);
    post("/ingest", &[JSON, ("X", &"x".repeat(65 * 1024))], GOOD, 431);
    for path in ["/healthz", "/readyz", "/openapi.json"] {
        described.check(path, "get", &front.get(path));
    }
    let missing = front.get("/nowhere");
    assert_eq!(missing.status, 404);
    described.check_response("/components/responses/NotFound", &missing);
    ask::<()>(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    let full = front.post("/ingest", GOOD);
    assert_eq!(full.status, 503);
    described.check("/ingest", "post", &full);
    redis.kill();
    let away = front.get("/readyz");
    assert_eq!(away.status, 503);
    described.check("/readyz", "get", &away);
}

#[test]
fn what_strangers_loops_and_repetitions_get_is_as_it_says() {
    let redis = RedisServer::start();
    let tokens = redis.dir().join("tokens");
    fs::write(&tokens, "first-token-0123456789").unwrap();
    let options = ["--client-rate", "1/h", "--token-file", tokens.to_str().unwrap()];
    let front = Front::start(&redis.url_text(), &options);
    let mut described = Described::new();
    let mut post = |more: &[(&str, &str)], body: &str, status: u16| {
        let headers = [&[JSON], more].concat();
        let answer = send(front.address, &request("POST", "/ingest", &headers, body));
        assert_eq!(answer.status, status, "{answer:?}");
        described.check("/ingest", "post", &answer);
    };
    let mine = ("Authorization", "Bearer first-token-0123456789");
    let key = ("Idempotency-Key", "k");
    post(&[], GOOD, 401);
    post(&[mine, key], GOOD, 202);
    post(&[mine, key], GOOD, 202);
    post(&[mine, key], &GOOD.replace("a.com", "b.com"), 422);
    let loops = ("X-Forwarded-For", "203.0.113.9");
    post(&[mine, loops], GOOD, 202);
    post(&[mine, loops], GOOD, 429);
}

/// The codes that a source file gives to its problems.
fn codes(source: &str) -> Vec<String> {
    let mut codes = vec![];
    for call in ["Problem::new(", "Problem::unavailable(", "Problem::retry("] {
        for arguments in source.split(call).skip(1) {
            let mut depth = 1;
            let is_end = |c: char| {
                depth += i32::from(c == '(') - i32::from(c == ')');
                depth == 0
            };
            let end = arguments.find(is_end).unwrap_or(arguments.len());
            let texts = arguments[..end].split('"').skip(1).step_by(2);
            let is_code = |text: &&str| text.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
            codes.extend(texts.take(1).filter(is_code).map(str::to_owned));
        }
    }
    codes
}

fn sources(folder: &Path) -> Vec<String> {
    // The operators' pages are no part of what clients use.
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| !path.ends_with("src/admin"));
    let read = |path: std::path::PathBuf| match path.is_dir() {
        true => sources(&path),
        false => vec![fs::read_to_string(path).unwrap()],
    };
    files.flat_map(read).collect()
}

#[test]
fn every_code_that_ingest_or_nginx_gives_is_in_it() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let mut given: Vec<String> = sources.iter().flat_map(|source| codes(source)).collect();
    let nginx = include_str!("../../../../nginx/nginx.conf.in");
    let map = nginx.split("map $status $problem_code {").nth(1).unwrap().split('}').next().unwrap();
    given.extend(map.split('"').skip(1).step_by(2).map(str::to_owned));
    for code in ["bad_request", "too_large", "not_ready", "head_too_large", "too_many_requests"] {
        assert!(given.iter().any(|found| found == code), "{code} was not found in the sources");
    }
    let document = document();
    let known = document["components"]["schemas"]["Code"]["enum"].as_array().unwrap();
    for code in given {
        assert!(known.contains(&json!(code)), "{code} is not in openapi.json");
    }
}
