//! What holds for every page: who may come, what a browser may do with it, refusals for people.

use std::net::SocketAddr;

use crate::{
    answers::front,
    support::{Answer, JSON, request, send},
};

const HTML: (&str, &str) = ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8");
const AS_JSON: (&str, &str) = ("Accept", "application/json");

fn get(address: SocketAddr, path: &str, headers: &[(&str, &str)]) -> Answer {
    send(address, &request("GET", path, headers, ""))
}

/// With a `Host` of its own.
fn named(address: SocketAddr, method: &str, host: &str, headers: &str) -> Answer {
    let head = format!(
        "{method} /nowhere HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n"
    );
    send(address, head.as_bytes())
}

#[test]
fn a_refusal_is_a_page_for_browsers_and_a_problem_for_programs() {
    let (_redis, front) = front(&[]);
    let page = get(front.admin, "/nowhere?%3Cscript%3E", &[HTML]);
    assert_eq!(page.status, 404);
    assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
    assert!(
        page.body.contains("<h1>404 Not Found</h1>") && page.body.contains("href=\"/requests\"")
    );
    for headers in [&[][..], &[AS_JSON]] {
        let problem = get(front.admin, "/nowhere", headers);
        assert_eq!(problem.header("content-type"), Some("application/problem+json"));
        assert_eq!((problem.status, &problem.json()["code"]), (404, &"not_found".into()));
    }
}

#[test]
fn a_browser_may_do_little_with_a_page() {
    let (_redis, front) = front(&[]);
    for path in ["/nowhere", "/assets/style.css", "/assets/live.js"] {
        let answer = get(front.admin, path, &[HTML]);
        let policy = answer.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe"), "{path}");
        assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'self'"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("referrer-policy"), Some("same-origin"));
        assert!(!answer.body.contains(" style=") && !answer.body.contains(" onclick="), "{path}");
    }
    assert_eq!(get(front.admin, "/nowhere", &[HTML]).header("cache-control"), Some("no-store"));
}

#[test]
fn pages_are_not_on_the_public_listener() {
    let (_redis, front) = front(&[]);
    for path in ["/", "/requests", "/assets/style.css"] {
        assert_eq!(get(front.address, path, &[HTML]).status, 404, "{path}");
    }
}

#[test]
fn a_strangers_name_gets_nothing_without_a_token() {
    let (_redis, front) = front(&[]);
    let check = |host: &str, expect| {
        assert_eq!(named(front.admin, "GET", host, "").status, expect, "{host}")
    };
    check("127.0.0.1:8081", 404);
    check("localhost", 404);
    check("evil.example:8081", 403);
    // Scrapers and balancers are no browsers.
    let metrics = "GET /metrics HTTP/1.1\r\nHost: box.example\r\nConnection: close\r\n\r\n";
    assert_eq!(send(front.admin, metrics.as_bytes()).status, 200);
}

#[test]
fn another_sites_page_cannot_act() {
    let (_redis, front) = front(&[]);
    let check = |headers: &str, expect| {
        assert_eq!(named(front.admin, "POST", "localhost:1", headers).status, expect, "{headers}");
    };
    check("", 404);
    check("Origin: http://localhost:1\r\nSec-Fetch-Site: same-origin\r\n", 404);
    check("Origin: http://evil.example\r\n", 403);
    check("Origin: null\r\n", 403);
    check("Sec-Fetch-Site: cross-site\r\n", 403);
    check("Sec-Fetch-Site: same-site\r\nOrigin: http://localhost:2\r\n", 403);
    // Who is refused is told why, person or program.
    let why = "asked for by another site's page";
    let page = named(front.admin, "POST", "localhost", "Origin: null\r\nAccept: text/html\r\n");
    assert!(page.body.contains(&why.replace('\'', "&#39;")), "{page:?}");
    let problem = named(front.admin, "POST", "localhost", "Origin: null\r\n").json();
    assert_eq!(problem["code"], "forbidden");
    assert!(problem["detail"].as_str().unwrap().contains(why), "{problem}");
}

#[test]
fn a_query_or_form_that_cannot_be_read_is_told_to_people_and_programs() {
    let (_redis, front) = front(&[]);
    for (path, why) in [
        ("/hosts?skip=x", "invalid digit"),
        ("/dead?host=a&host=b", "duplicate field `host`"),
        ("/?span=2h", "unknown variant `2h`"),
    ] {
        let page = get(front.admin, path, &[HTML]);
        assert!(page.status == 400 && page.body.contains(why), "{path}: {page:?}");
        let problem = get(front.admin, path, &[AS_JSON]);
        assert_eq!((problem.status, &problem.json()["code"]), (400, &"bad_request".into()));
        assert!(problem.json()["detail"].as_str().unwrap().contains(why), "{path}: {problem:?}");
    }
    let headers = [AS_JSON, ("Content-Type", "application/x-www-form-urlencoded")];
    let long = format!("rate={}", "1".repeat(20_000));
    let problem = send(front.admin, &request("POST", "/hosts/limit", &headers, &long));
    assert_eq!((problem.status, &problem.json()["code"]), (413, &"too_large".into()));
    let problem = send(front.admin, &request("POST", "/hosts/limit", &[JSON], "{}"));
    assert_eq!(problem.status, 415);
    assert!(problem.json()["detail"].as_str().unwrap().contains("ontent type"), "{problem:?}");
}

#[test]
fn with_tokens_a_browser_is_asked_for_one_as_password() {
    let file = std::env::temp_dir().join(format!("postback-pages-{}", std::process::id()));
    std::fs::write(&file, "0123456789abcdef-admin\n").unwrap();
    let (_redis, front) = front(&["--admin-token-file", file.to_str().unwrap()]);
    let refused = get(front.admin, "/", &[HTML]);
    assert_eq!(refused.status, 401);
    assert!(refused.header("www-authenticate").unwrap().contains("Basic realm=\"postback\""));
    // Clients' document is not here, and a page that says so would tell more than that.
    assert_eq!(get(front.admin, "/openapi.json", &[HTML]).status, 401);
    let check = |authorization: &str, expect| {
        let got = get(front.admin, "/nowhere", &[("Authorization", authorization)]);
        assert_eq!(got.status, expect, "{authorization}");
    };
    check("Bearer 0123456789abcdef-admin", 404);
    check("Basic YW55Ym9keTowMTIzNDU2Nzg5YWJjZGVmLWFkbWlu", 404);
    check("basic OjAxMjM0NTY3ODlhYmNkZWYtYWRtaW4=", 404);
    check("Basic MDEyMzQ1Njc4OWFiY2RlZi1hZG1pbg==", 401); // without a colon
    check("Basic YW55Ym9keTp3cm9uZw==", 401);
    check("Basic ?", 401);
    // Clients' requests take no passwords.
    let headers = [JSON, ("Authorization", "Basic OjAxMjM0NTY3ODlhYmNkZWYtYWRtaW4=")];
    assert_ne!(send(front.address, &request("POST", "/ingest", &headers, "{}")).status, 401);
    std::fs::remove_file(&file).unwrap();
}
