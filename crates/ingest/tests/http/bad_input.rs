//! One table of whatever a stranger may send: each input's answer, and that nothing of it is stored.

use std::fmt::Write;

use postback_core::inert::moves;

use crate::{
    answers::front,
    support::{Answer, Front, GOOD, JSON, ask, keys, request, send},
};

/// Posts bytes that need not be text.
fn post(front: &Front, path: &str, body: &[u8]) -> Answer {
    let length = body.len().to_string();
    let mut whole = request("POST", path, &[JSON, ("Content-Length", &length)], "");
    whole.extend_from_slice(body);
    send(front.address, &whole)
}

/// A request with this endpoint URL (a JSON string's inside) and this row.
fn with(url: &str, row: &str) -> String {
    format!(r#"{{"endpoint":{{"method":"GET","url":"{url}"}},"data":[{row}]}}"#)
}

/// That a body is refused with 400 or 413 and a problem that names this place.
fn refused(front: &Front, body: &[u8], place: &str) {
    let answer = post(front, "/ingest", body);
    let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
    assert!([400, 413].contains(&answer.status), "{start}: {answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{start}");
    let problem = answer.json();
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("{place}: ")), "{start}: {detail}");
    assert!(detail.len() < 1500 && answer.body.len() < 20_000, "{start}: a long answer");
    assert!(!answer.body.contains(|c: char| c.is_control() && c != '\n'), "{start}: {answer:?}");
}

#[test]
fn what_is_not_json_or_not_the_shape_is_refused_with_its_place() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let text = |body: &str, place: &str| refused(&front, body.as_bytes(), place);
    for end in 1..GOOD.len() {
        text(&GOOD[..end], "request");
    }
    for junk in ["x", "{}", ",", "\0", "\u{feff}", "]"] {
        text(&format!("{GOOD}{junk}"), "request");
    }
    text(&format!("\u{feff}{GOOD}"), "request");
    for (bytes, what) in [
        (&b"\xff"[..], "not UTF-8"),
        (b"\xc0\xaf", "an overlong slash"),
        (b"\xed\xa0\x80", "a surrogate in UTF-8"),
        (b"\xf4\x90\x80\x80", "beyond Unicode"),
        (b"\xe2\x82", "a cut character"),
        (b"\0", "NUL"),
        (b"\x1f", "a control character"),
        (b"\n", "a line's end in a string"),
        (b"\\ud800", "a lone surrogate"),
        (b"\\udc00\\ud800", "a pair in the wrong order"),
        (b"\\x41", "no escape of JSON"),
        (b"\\u12g4", "no hexadecimal digit"),
    ] {
        let at = GOOD.find(r#""k":1"#).unwrap() + 1;
        for place in [at, GOOD.find("http").unwrap() + 20] {
            let body = [&GOOD.as_bytes()[..place], bytes, &GOOD.as_bytes()[place..]].concat();
            assert!(String::from_utf8_lossy(&body).len() > 10, "{what}");
            refused(&front, &body, "request");
        }
    }
    text(&with("http://a.com/", &deep(127)), "request");
    assert_eq!(
        post(&front, "/i?dry_run=1", with("http://a.com/", &deep(126)).as_bytes()).status,
        200
    );
    text(&"[".repeat(1_000_000), "request");
    text(&r#"{"a":"#.repeat(200_000), "request");
    for number in ["NaN", "Infinity", "-Infinity", "+1", "01", "1.", ".5", "0x1", "1e", "--1"] {
        text(&GOOD.replace(r#""k":1"#, &format!(r#""k":{number}"#)), "request");
    }
    for row in ["null", "true", "1", "\"x\"", "[]", "[{}]"] {
        text(&with("http://a.com/", row), "data[0]");
    }
    for data in ["null", "{}", "\"x\"", "1"] {
        let place = if data == "null" { "request" } else { "data" };
        text(
            &format!(r#"{{"endpoint":{{"method":"GET","url":"http://a.com/"}},"data":{data}}}"#),
            place,
        );
    }
    assert_eq!(keys(&redis), before);
}

/// A row with a value that nests, so that the row itself lies in the third level of the request.
fn deep(levels: usize) -> String {
    format!(r#"{{"v":{}1{}}}"#, "[".repeat(levels - 1), "]".repeat(levels - 1))
}

#[test]
fn duplicate_keys_are_refused_at_every_level() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let endpoint = r#""endpoint":{"method":"POST","url":"http://a.com/{v}","body":{"b":1}}"#;
    let good = format!(
        r#"{{{endpoint},"policy":{{"success":{{"status":[200]}}}},"data":[{{"v":{{"w":[{{"x":1}}]}}}}]}}"#
    );
    assert_eq!(post(&front, "/i?dry_run=1", good.as_bytes()).status, 200);
    for (of, twice, place) in [
        (r#""data":"#, r#""data":[],"data":"#, "request"),
        (r#""method":"POST""#, r#""method":"POST","m\u0065thod":"GET""#, "endpoint"),
        (r#"{"b":1}"#, r#"{"b":1,"b":1}"#, "endpoint.body"),
        (r#""status":"#, r#""status":[200],"status":"#, "policy.success"),
        (r#"{"v":"#, r#"{"v":1,"v":"#, "data[0]"),
        (r#"{"w":"#, r#"{"w":1,"\u0077":"#, "data[0].v"),
        (r#"{"x":1}"#, r#"{"x":1,"x":1}"#, "data[0].v"),
    ] {
        assert!(good.contains(of));
        refused(&front, good.replace(of, twice).as_bytes(), place);
    }
    assert_eq!(keys(&redis), before);
}

#[test]
fn one_bad_row_of_a_thousand_refuses_all_of_them() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    for (bad, place) in [
        ("7", "data[999]"),
        (r#"{"k":1,"k":1}"#, "data[999]"),
        (r#"{"k":".."}"#, "data[999].k"),
        ("null", "data[999]"),
    ] {
        let mut rows = vec![r#"{"k":"v"}"#; 1000];
        rows[999] = bad;
        refused(&front, with("http://a.com/{k}", &rows.join(",")).as_bytes(), place);
    }
    assert_eq!(keys(&redis), before);
}

/// What one row's URL becomes, or the detail of the refusal.
fn filled(front: &Front, url: &str, row: &str) -> Result<String, String> {
    let answer = post(front, "/i?dry_run=1", with(url, row).as_bytes());
    let body = answer.json();
    match answer.status {
        200 => Ok(body["rows"][0]["url"].as_str().unwrap().to_owned()),
        400 => Err(body["detail"].as_str().unwrap().to_owned()),
        _ => panic!("{url} {row}: {answer:?}"),
    }
}

#[test]
fn values_keep_their_text_and_stay_in_their_place() {
    let (_redis, front) = front(&[]);
    let check = |value: &str, expect: &str| {
        let sent = filled(&front, "http://a.com/?k={k}&z=1", &format!(r#"{{"k":{value}}}"#));
        assert_eq!(sent.as_deref(), Ok(&*format!("http://a.com/?k={expect}&z=1")), "{value}");
    };
    check("12345678901234567890123", "12345678901234567890123");
    check("1.10", "1.10");
    check("1e400", "1e400");
    check("-0", "-0");
    check("true", "true");
    check("false", "false");
    check("null", "");
    check("\"\"", "");
    check("[1,\"a b\"]", "1,a%20b");
    check(r#"{"a":1,"b":"x&y"}"#, "a,1,b,x%26y");
    check(r#""&admin=1#@127.0.0.1""#, "%26admin%3D1%23%40127.0.0.1");
    check(r#""\r\nHost: evil""#, "%0D%0AHost%3A%20evil");
    check(r#""\u0000\u001b[31m""#, "%00%1B%5B31m");
    check(r#""..""#, "..");
    check(r#""{url}""#, "%7Burl%7D");
    check(r#""%2e%2e/""#, "%252e%252e%2F");
    check(r#""<script>alert(1)</script>""#, "%3Cscript%3Ealert%281%29%3C%2Fscript%3E");
    check(r#""é\ud83d\ude00""#, "%C3%A9%F0%9F%98%80");
    let list = filled(&front, "http://a.com/{?k*}", r#"{"k":{"a":1,"b":null,"c":[2,3]}}"#);
    assert!(list.is_ok(), "{list:?}");
}

#[test]
fn a_template_cannot_be_abused() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    for url in [
        "{k}://a.com/",
        "http{k}://a.com/",
        "http://{k}/",
        "http://{k}.com/",
        "http://a.com{k}",
        "http://a.com:{k}/",
        "http://{k}@a.com/",
        "http://u:{k}@a.com/",
        "http://a.com/#{k}",
        "http://a.com/{#k}",
        "http://u@a.com/",
        "http://u:p@a.com/",
        "http://a.com/#x",
        "http://a.com/{k",
        "http://a.com/k}",
        "http://a.com/{{k}}",
        "http://a.com/{}",
        "http://a.com/{a{b}}",
        "http://a.com:0/",
        "http://a.com:65536/",
        "http://a.com:x/",
        "http:///x",
        "http://",
        "//a.com/",
        "a.com",
        "",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "gopher://a.com/",
        "https:/a.com",
        "http://a.com/\\u0000",
        "http://a.com/\\r\\nX: y",
        "http://a b.com/",
        "http://[::1/",
        "http://a..com/",
    ] {
        refused(&front, with(url, r#"{"k":"127.0.0.1","a":1,"b":1}"#).as_bytes(), "endpoint.url");
    }
    let long = "x".repeat(8 * 1024);
    for (url, value, place) in [
        ("http://a.com/{k}", "..", "data[0].k"),
        ("http://a.com/{k}/b", ".", "data[0].k"),
        ("http://a.com/.{k}/b", ".", "data[0].k"),
        ("http://a.com/{+k}", "../../admin", "data[0].k"),
        ("http://a.com/x/{+k}", "a/../b", "data[0].k"),
        ("http://a.com{/k}", "..", "data[0].k"),
        ("http://a.com/?k={k}", long.as_str(), "data[0]"),
        ("http://a.com/{+k}", "%2e%2e", "data[0].k"),
        ("http://a.com/{k}", &"é".repeat(1400), "data[0]"),
    ] {
        refused(&front, with(url, &format!(r#"{{"k":"{value}"}}"#)).as_bytes(), place);
    }
    let literal = filled(&front, "http://a.com/%2e%2e/{k}", r#"{"k":"v"}"#);
    assert_eq!(literal.as_deref(), Ok("http://a.com/%2e%2e/v"));
    assert_eq!(keys(&redis), before);
}

#[test]
fn a_method_is_one_of_six_in_upper_case() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    for method in
        ["get", "CONNECT", "TRACE", "OPTIONS", "Post", "", "GET ", "G\\u0000T", "PROPFIND"]
    {
        let body = GOOD.replace("GET", method);
        refused(&front, body.as_bytes(), "endpoint.method");
    }
    assert_eq!(keys(&redis), before);
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"] {
        let body = GOOD.replace("GET", method);
        assert_eq!(post(&front, "/i?dry_run=1", body.as_bytes()).status, 200, "{method}");
    }
}

#[test]
fn a_header_that_would_change_the_request_is_refused() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    for (name, value) in [
        ("Host", "b"),
        ("host", "b"),
        ("Content-Length", "1"),
        ("Transfer-Encoding", "chunked"),
        ("Connection", "close"),
        ("Keep-Alive", "x"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Upgrade", "h2c"),
        ("Proxy-Authorization", "x"),
        ("Proxy-Connection", "x"),
        ("webhook-id", "x"),
        ("Webhook-Anything", "x"),
        ("X Y", "x"),
        ("X:", "x"),
        ("", "x"),
        ("X\\n", "x"),
        ("é", "x"),
        ("X-A", "a\\r\\nHost: b"),
        ("X-A", "a\\u0000"),
        ("X-A", "{k"),
    ] {
        let headers = format!(r#""GET","headers":{{"{name}":"{value}"}},"#);
        let body = GOOD.replace(r#""GET","#, &headers);
        let answer = post(&front, "/i", body.as_bytes());
        // A lone brace is text in a header.
        let expect = if value == "{k" { 202 } else { 400 };
        assert_eq!(answer.status, expect, "{name}: {value}: {answer:?}");
    }
    let bad_value = GOOD.replace(r#""GET","#, r#""GET","headers":{"X-A":"{k}"},"#);
    for value in [r#""a\r\nHost: b""#, r#""a\u0000b""#] {
        let body = bad_value.replace(r#"{"k":1}"#, &format!(r#"{{"k":{value}}}"#));
        refused(&front, body.as_bytes(), "data[0].k");
    }
    assert_eq!(ask::<u64>(&redis, &["HGET", "pb:{0}:stats", "accepted"]), 2);
    assert!(keys(&redis) > before);
}

/// Names and values of a request come back in the answer's text: they must stay text.
#[test]
fn what_a_client_sent_is_inert_in_the_answer() {
    let (_redis, front) = front(&[]);
    for text in [
        "<script>alert(1)</script>",
        "\\u001b[2J",
        "\\r\\nSet-Cookie: a=b",
        "\\u2028",
        "\\\"",
        "\u{9b}1m\u{7f}\u{202e}",
    ] {
        for body in [
            GOOD.replace(r#""k":1"#, &format!(r#""{text}":1,"{text}":1"#)),
            format!(r#"{{"{text}":1,{}"#, &GOOD[1..]),
            GOOD.replace("GET", text),
            GOOD.replace(r#""GET","#, &format!(r#""GET","headers":{{"{text}":"x"}},"#)),
        ] {
            let answer = post(&front, "/ingest", body.as_bytes());
            assert_eq!(answer.status, 400, "{body}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/problem+json"));
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{answer:?}");
            assert_eq!(answer.header("set-cookie"), None);
            assert!(!answer.body.contains(moves), "{answer:?}");
            drop(answer.json());
        }
    }
}

#[test]
fn many_faults_make_no_long_answer_and_no_long_work() {
    let (redis, front) = front(&[]);
    let before = keys(&redis);
    let mut policy = String::new();
    for n in 0..2000 {
        write!(policy, r#""{n}{}":1,"#, "x".repeat(400)).unwrap();
    }
    let body = GOOD.replace(r#""data":"#, &format!(r#""policy":{{{}"x":1}},"data":"#, policy));
    let answer = post(&front, "/ingest", body.as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
    let rows = vec!["7"; 10_000].join(",");
    let answer = post(&front, "/ingest", with("http://a.com/", &rows).as_bytes());
    assert_eq!(answer.status, 400);
    assert!(answer.body.len() < 20_000, "{} bytes", answer.body.len());
    assert_eq!(keys(&redis), before);
}
