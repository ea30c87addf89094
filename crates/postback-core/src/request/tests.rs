//! What a request may say, and what is told of one that is wrong.

use super::*;
use crate::{
    endpoint::{BodyTemplate, Unmatched},
    policy::{Policy, Success},
};

const URL: &str = r#""url":"http://a.com/""#;

fn limits() -> Limits {
    Limits { max_rows: 100, unmatched: "none".into() }
}

/// A request with this URL and these rows; the targets as sent.
fn targets(url: &str, data: &str) -> Result<Vec<String>, String> {
    let endpoint = format!(r#"{{"method":"GET","url":"{url}"}}"#);
    let body = format!(r#"{{"endpoint":{endpoint},"data":{data}}}"#);
    let request = parse(body.as_bytes(), &limits()).map_err(|error| error.to_string())?;
    let fill = |row| request.envelope.endpoint.fill(row).unwrap().target;
    Ok(request.rows.iter().map(fill).collect())
}

fn with(endpoint: &str, policy: &str) -> String {
    format!(r#"{{"policy":{{{policy}}},"data":[{{}}],"endpoint":{{{endpoint}}}}}"#)
}

#[test]
fn a_name_is_a_literal_key_first_and_then_a_path() {
    let check = |row: &str, expect: &str| {
        let url = "http://a.com/{a}/{a.b}/{a.b.c|-}";
        assert_eq!(targets(url, &format!("[{row}]")).unwrap(), [expect], "{row}");
    };
    check(r#"{"a":1,"a.b":2,"a.b.c":3}"#, "/1/2/3");
    check(r#"{"a":{"b":2}}"#, "/b,2/2/-");
    check(r#"{"a.b":"x","a":{"b":2}}"#, "/b,2/x/-");
    check(r#"{"a":{"b":2},"a.b":"x"}"#, "/b,2/x/-");
    check(r#"{"a.b":null,"a":{"b":2}}"#, "/b,2/none/-");
    check(r#"{"a":{"b.c":1}}"#, "/b.c,1/none/-");
    check(r#"{"a":[{"b":1}],"x":{"a":7}}"#, "/%7B%22b%22%3A1%7D/none/-");
}

#[test]
fn rows_of_other_shapes_are_each_read_by_their_own_keys() {
    let rows = r#"[{"a":1,"b":2},{"b":3,"a":4},{"a":5},{},{"c":9,"\u0061":6,"b":7},{"a":8,"b":9}]"#;
    let sent = targets("http://a.com/{a}{b}", rows).unwrap();
    assert_eq!(sent, ["/12", "/43", "/5none", "/nonenone", "/67", "/89"]);
}

#[test]
fn unmatched_names_are_counted_once_a_row() {
    let body = r#"{"endpoint":{"method":"GET","url":"http://a.com/{a}{a}{b}"},
        "data":[{},{"a":1},{"a":null,"b":[]}]}"#;
    let request = parse(body.as_bytes(), &limits()).unwrap();
    let expect = [("a".to_owned(), 2), ("b".to_owned(), 2)];
    assert_eq!(request.unmatched, BTreeMap::from(expect));
}

#[test]
fn a_fault_is_named_with_its_place() {
    let check = |body: &str, expect: &str| {
        let error = parse(body.as_bytes(), &limits()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Bad);
        assert!(error.to_string().starts_with(expect), "{body}: {error}");
    };
    check("", "request: EOF");
    check("[]", "request: must be an object, not a list");
    check("{}", "request: `endpoint` is missing");
    check(r#"{"x":null,"endpoint":{}}"#, "x: unknown field; known are endpoint, data, policy");
    check(r#"{"endpoint":{},"data":1,"data":2}"#, "request: duplicate key `data`");
    check(&format!(r#"{{"endpoint":{{"method":"GET",{URL}}}}}"#), "request: `data` is missing");
    check(&with("", ""), "endpoint: `method` is missing");
    check(&with(r#""method":"GET""#, ""), "endpoint: `url` is missing");
    let get = |more: &str| format!(r#""method":"GET",{URL}{more}"#);
    check(&with(&get(r#","x":1"#), ""), "endpoint.x: unknown field");
    check(&with(&get(r#","url":"y""#), ""), "endpoint: duplicate key `url`");
    check(&with(&get(r#","headers":{"A":1}"#), ""), "endpoint.headers.A: must be a string");
    check(&with(&get(r#","headers":{"A":"","A":""}"#), ""), "endpoint.headers: duplicate");
    check(&with(&get(r#","body":7"#), ""), "endpoint.body: must be a string, an object");
    check(&with(&get(r#","body":[{"a":1,"a":2}]"#), ""), "endpoint.body: duplicate key `a`");
    check(&with(&get(&format!(r#","body":"{}""#, "x".repeat(40_000))), ""), "endpoint: ");
    for (policy, place) in [
        (r#""retry":1"#, "policy.retry: unknown field"),
        (r#""lane":"a b""#, "policy.lane: "),
        (r#""lane":"""#, "policy.lane: "),
        (r#""delay":"8d""#, "policy.delay: longer than"),
        (r#""expires_in":"169h""#, "policy.expires_in: longer than"),
        (r#""timeout":"61s""#, "policy.timeout: longer than"),
        (r#""timeout":10"#, "policy.timeout: must be a string, not a number"),
        (r#""retries":"5s""#, "policy.retries: must be a list"),
        (r#""retries":["1s","5x"]"#, "policy.retries[1]: "),
        (r#""retries":["25h"]"#, "policy.retries[0]: longer than"),
        (r#""unmatched":{"reject":false}"#, "policy.unmatched: must be a string or"),
        (r#""unmatched":{}"#, "policy.unmatched: must be a string or"),
        (r#""success":{"status":[]}"#, "policy.success.status: must name"),
        (r#""success":{"status":["200-299",99]}"#, "policy.success.status[1]: "),
        (r#""success":{"status":["299-200"]}"#, "policy.success.status[0]: "),
        (r#""success":{"status":["+20"]}"#, "policy.success.status[0]: "),
        (r#""success":{"body_contains":""}"#, "policy.success.body_contains: "),
    ] {
        check(&with(&get(""), policy), place);
    }
    let many = vec!["\"1s\""; 21].join(",");
    check(&with(&get(""), &format!(r#""retries":[{many}]"#)), "policy.retries: more than 20");
}

/// The places of all faults of a request.
fn places(body: &str) -> Vec<String> {
    let errors = parse(body.as_bytes(), &limits()).expect_err(body);
    errors.as_slice().iter().map(|error| error.place.clone()).collect()
}

#[test]
fn every_fault_is_named_in_the_order_of_the_text() {
    let check = |body: &str, expect: &[&str]| assert_eq!(places(body), expect, "{body}");
    check("{", &["request"]);
    check(r#"{"data":null,"x":1,"x":2,"data":[{}],"y":3}"#, &["request", "x", "x"]);
    check("{}", &["request", "request"]);
    check(r#"{"endpoint":{},"x":1}"#, &["endpoint", "endpoint", "x", "request"]);
    check(r#"{"data":[],"endpoint":7,"policy":"x"}"#, &["data", "endpoint", "policy"]);
    check(r#"{"data":[1,{},[]],"endpoint":{}}"#, &["data[0]", "data[2]", "endpoint", "endpoint"]);
    let endpoint = r#""x":1,"method":"get","y":2,"url":"http://{a}.com/","headers":{"Host":"a","X":7,"B":"ok","C":"\n"},"body":true"#;
    let policy = r#""lane":"a b","retries":["1s","5x","6s",7],"success":{"status":[1,"200",99],"z":1,
        "body_contains":"","body_excludes":2},"delay":"8d","unmatched":{"a":1},"ref":1,"timeout":"61s","expires_in":5"#;
    let in_policy = [
        "policy.lane",
        "policy.retries[1]",
        "policy.retries[3]",
        "policy.success.status[0]",
        "policy.success.status[2]",
        "policy.success.z",
        "policy.success.body_contains",
        "policy.success.body_excludes",
        "policy.delay",
        "policy.unmatched",
        "policy.unmatched.a",
        "policy.ref",
        "policy.timeout",
        "policy.expires_in",
    ];
    let in_endpoint = [
        "endpoint.x",
        "endpoint.method",
        "endpoint.y",
        "endpoint.url",
        "endpoint.headers.Host",
        "endpoint.headers.X",
        "endpoint.headers.C",
        "endpoint.body",
    ];
    check(&with(endpoint, ""), &in_endpoint);
    check(&with(&format!(r#""method":"GET",{URL}"#), policy), &in_policy);
}

#[test]
fn rows_are_tried_beside_a_policy_that_is_wrong_unless_it_leaves_open_what_they_send() {
    let check = |policy: &str, expect: &[&str]| {
        let endpoint = r#"{"method":"GET","url":"http://a.com/.{a}"}"#;
        let data = r#"[{"a":"."},{"a":1},{},2]"#;
        let body = format!(r#"{{"policy":{policy},"endpoint":{endpoint},"data":{data}}}"#);
        assert_eq!(places(&body), expect, "{policy}");
    };
    check("null", &["data[0].a", "data[3]"]);
    check(r#"{"lane":""}"#, &["policy.lane", "data[0].a", "data[3]"]);
    check(r#"{"unmatched":""}"#, &["data[0].a", "data[2].a", "data[3]"]);
    check(r#"{"unmatched":{"reject":true}}"#, &["data[0].a", "data[2].a", "data[3]"]);
    check(r#"{"unmatched":1}"#, &["policy.unmatched", "data[3]"]);
    check("[]", &["policy", "data[3]"]);
}

#[test]
fn each_bad_row_is_one_fault_and_the_next_row_is_read_all_the_same() {
    let rows = r#"[{"x":1,"x":2},{"x":1,"x":2},{"a":{"b":1,"b":[{}]},"x":"}"},{"a":"ok"},7,
        {"a":{"b":[{"c":1,"c":2}]},"y":[{}]},{"a":{"b":"fine"}},null,[{"a":1}]]"#;
    let endpoint = r#"{"method":"GET","url":"http://a.com/{a.b}"}"#;
    let body = format!(r#"{{"data":{rows},"endpoint":{endpoint}}}"#);
    let expect =
        ["data[0]", "data[1]", "data[2].a", "data[4]", "data[5].a.b", "data[7]", "data[8]"];
    assert_eq!(places(&body), expect);
}

#[test]
fn no_more_than_twenty_faults_are_told() {
    let check = |body: &str, first: &str, last: &str, more: &str| {
        let errors = parse(body.as_bytes(), &limits()).unwrap_err();
        let places: Vec<_> = errors.as_slice().iter().map(|error| error.place.as_str()).collect();
        assert_eq!((places[0], places[places.len() - 1]), (first, last));
        let expect = if more.is_empty() { String::new() } else { format!(" ({more})") };
        assert_eq!(errors.to_string(), format!("{}{expect}", errors.as_slice()[0]));
    };
    let rows = |n: usize| {
        let rows = vec!["7"; n].join(",");
        format!(r#"{{"endpoint":{{"method":"GET",{URL}}},"data":[{{}},{rows}]}}"#)
    };
    check(&rows(1), "data[1]", "data[1]", "");
    check(&rows(2), "data[1]", "data[2]", "and 1 more");
    check(&rows(19), "data[1]", "data[19]", "and 18 more");
    check(&rows(20), "data[1]", "data[20]", "and at least 19 more");
    check(&rows(99), "data[1]", "data[20]", "and at least 19 more");
    check(&rows(1_000), "data[1]", "data[20]", "and at least 19 more");
    let fields: String = (0..1_000_000).map(|n| format!("\"{n}\":0,")).collect();
    let known = format!(r#""endpoint":{{"method":"GET",{URL}}},"data":[7]"#);
    check(&format!("{{{fields}{known}}}"), "0", "19", "and at least 19 more");
    let fields: String = (0..100).map(|n| format!("\"{n}\":0,")).collect();
    check(
        &rows(9).replace("\"method\"", &format!("{fields}\"method\"")),
        "endpoint.0",
        "endpoint.19",
        "and at least 19 more",
    );
    let headers: String = (0..30).map(|n| format!("\"webhook-{n}\":\"\",")).collect();
    let with_headers =
        rows(9).replace("\"method\"", &format!("\"headers\":{{{headers}\"a\":\"\"}},\"method\""));
    check(
        &with_headers,
        "endpoint.headers.webhook-0",
        "endpoint.headers.webhook-19",
        "and at least 19 more",
    );
}

#[test]
fn too_many_rows_are_the_only_fault() {
    let rows = [vec!["7"; 19], vec!["{}"; 82]].concat().join(",");
    let endpoint = r#"{"method":"GET","url":"http://a.com/"}"#;
    let body = format!(r#"{{"endpoint":{endpoint},"policy":{{}},"data":[{rows}]}}"#);
    let errors = parse(body.as_bytes(), &limits()).unwrap_err();
    assert_eq!((errors.kind(), errors.as_slice().len()), (ErrorKind::TooManyRows, 1));
}

#[test]
fn a_bad_row_is_named_with_its_number() {
    let check = |data: &str, expect: &str| {
        let error = targets("http://a.com/{a}/{b.c}", data).unwrap_err();
        assert!(error.starts_with(expect), "{data}: {error}");
    };
    check("{}", "data: must be a list of objects, not an object");
    check("[]", "data: must hold at least one row");
    check("[{},1]", "data[1]: must be an object, not a number");
    check("[null]", "data[0]: must be an object, not null");
    check(r#"[{},{},{"x":1,"x":1}]"#, "data[2]: duplicate key `x`");
    check(r#"[{"b":{"d":1,"d":1}}]"#, "data[0].b: duplicate key `d`");
    check(r#"[{"a":{"d":1,"d":1}}]"#, "data[0].a: duplicate key `d`");
    check(r#"[{"b":{"c":[{"d":1,"d":1}]}}]"#, "data[0].b.c: duplicate key `d`");
    check(&format!(r#"[{{"a":"{}"}}]"#, "x".repeat(9000)), "data[0]");
    check(r#"[{"a":"\ud800"}]"#, "request: lone surrogate");
}

#[test]
fn more_rows_than_allowed_are_too_many() {
    let data = |n: usize| format!("[{}]", vec!["{}"; n].join(","));
    assert_eq!(targets("http://a.com/", &data(100)).unwrap().len(), 100);
    let body = format!(r#"{{"endpoint":{{"method":"GET",{URL}}},"data":{}}}"#, data(101));
    let error = parse(body.as_bytes(), &limits()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooManyRows);
    assert_eq!(error.to_string(), "data: more than 100 rows: send them in parts");
}

#[test]
fn what_is_absent_or_null_has_its_default() {
    let nulls = r#""unmatched":null,"ref":null,"lane":null,"delay":null,"expires_in":null,
        "timeout":null,"retries":null,"success":null"#;
    for body in [
        with(&format!(r#""method":"GET",{URL}"#), ""),
        with(&format!(r#""method":"GET",{URL},"headers":null,"body":null"#), nulls),
        with(&format!(r#""method":"GET",{URL},"headers":{{"A":null}}"#), nulls),
    ] {
        let request = parse(body.as_bytes(), &limits()).unwrap();
        assert_eq!(request.envelope.policy, Policy::default());
        assert_eq!(request.envelope.delay, Duration::ZERO);
        let template = request.envelope.endpoint.template();
        assert_eq!(template.unmatched, Unmatched::Text("none".into()));
        assert_eq!((&template.headers[..], &template.reference), (&[][..], &None));
        assert_eq!(template.body, BodyTemplate::None);
    }
}

#[test]
fn every_field_of_the_policy_arrives() {
    let body = with(
        &format!(r#""method":"GET",{URL}"#),
        r#""unmatched":"u","ref":"r-{id}","lane":"bulk","delay":"7d","expires_in":"1h",
        "timeout":"250ms","retries":["5s","2m"],
        "success":{"status":["200-204","404",302],"body_contains":"ok","body_excludes":"no"}"#,
    );
    let request = parse(body.as_bytes(), &limits()).unwrap();
    assert_eq!(request.envelope.delay, MAX_DELAY);
    let policy = Policy {
        label: Some("bulk".into()),
        expires_in_ms: Some(3_600_000),
        timeout_ms: Some(250),
        retries_ms: Some(vec![5_000, 120_000]),
        success: Success {
            status: vec![(200, 204), (404, 404), (302, 302)],
            body_contains: Some("ok".into()),
            body_excludes: Some("no".into()),
        },
    };
    assert_eq!(request.envelope.policy, policy);
    assert_eq!(request.envelope.endpoint.template().reference.as_deref(), Some("r-{id}"));
    assert_eq!(request.envelope.endpoint.template().unmatched, Unmatched::Text("u".into()));
    let reject = with(&format!(r#""method":"GET",{URL}"#), r#""unmatched":{"reject":true}"#);
    let request = parse(reject.as_bytes(), &limits()).unwrap();
    assert_eq!(request.envelope.endpoint.template().unmatched, Unmatched::Reject);
}

#[test]
fn a_body_is_the_row_by_the_methods_that_send_one_or_what_is_given() {
    let check = |method: &str, body: &str, expect: BodyTemplate| {
        let request = with(&format!(r#""method":"{method}",{URL},"body":{body}"#), "");
        let request = parse(request.as_bytes(), &limits()).unwrap();
        assert_eq!(request.envelope.endpoint.template().body, expect, "{method} {body}");
    };
    for method in ["POST", "PUT", "PATCH"] {
        check(method, "null", BodyTemplate::Row);
    }
    for method in ["GET", "DELETE", "HEAD"] {
        check(method, "null", BodyTemplate::None);
    }
    check("POST", r#""a\u0062""#, BodyTemplate::Text("ab".into()));
    check("POST", "[ 1.10 ,\n{ } ]", BodyTemplate::Json("[1.10,{}]".into()));
}

#[test]
fn a_small_body_cannot_make_much_work() {
    let check = |endpoint: &str, data: &str, place: &str| {
        let body = format!(r#"{{"endpoint":{{{endpoint}}},"data":{data}}}"#);
        let limits = Limits { max_rows: 100_000, ..limits() };
        let error = parse(body.as_bytes(), &limits).unwrap_err();
        assert_eq!(error.as_slice()[0].place, place, "{error}");
    };
    let text = format!(r#""method":"POST",{URL},"body":"{}""#, "x".repeat(30_000));
    check(&text, &format!("[{}]", vec!["{}"; 20_000].join(",")), "data");
    let names: String = (0..1001).map(|n| format!("{{n{n}}}")).collect();
    check(&format!(r#""method":"POST",{URL},"body":"{names}""#), "[{}]", "endpoint");
    // Each of these rows costs 64 MiB before it is refused.
    let text = |times: usize| format!(r#""method":"POST",{URL},"body":"{}""#, "{a}".repeat(times));
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(100_000));
    let rows = format!("[{}]", vec![long; 30].join(","));
    let body = format!(r#"{{"endpoint":{{{}}},"data":{rows}}}"#, text(1000));
    assert_eq!(places(&body), ["data[0]", "data[1]", "data[2]", "data[3]", "data[4]", "data"]);
    let list = vec!["1"; 1_100_000].join(",");
    let url = r#""method":"POST","url":"http://a.com/","body":"{a}""#;
    check(url, &format!(r#"[{{"a":[{list}]}},{{"a":[{list}]}}]"#), "data[1].a");
}

#[test]
fn rows_are_bounded_by_what_they_come_to_and_not_by_what_they_may_come_to() {
    let body = "{a}".repeat(100);
    let endpoint = format!(
        r#""method":"POST",{URL},"headers":{{"Content-Type":"application/x-www-form-urlencoded"}},"body":"{body}""#
    );
    let check = |value: &str, fits: bool| {
        let rows = vec![format!(r#"{{"a":"{}"}}"#, value.repeat(30_000)); 40].join(",");
        let body = format!(r#"{{"endpoint":{{{endpoint}}},"data":[{rows}]}}"#);
        let request = parse(body.as_bytes(), &limits());
        let faults = request.as_ref().map_or_else(|error| error.to_string(), |_| String::new());
        assert_eq!(request.is_ok(), fits, "{faults}");
        assert!(fits || faults.contains("256 MiB"), "{faults}");
    };
    check("x", true);
    check("/", false);
}

#[test]
fn an_envelope_is_known_by_all_of_its_text() {
    let reader = RequestReader::new(limits());
    let ask = |endpoint: &str, policy: &str| {
        let request = reader.encode(with(endpoint, policy).as_bytes()).unwrap();
        (request.envelope, request.rows)
    };
    let get = format!(r#""method":"GET",{URL}"#);
    let (first, rows) = ask(&get, "");
    let (again, same) = ask(&get, "");
    assert!(Arc::ptr_eq(&first, &again) && rows == same);
    let (other, _) = ask(&get, r#""delay":"1s""#);
    assert_eq!((first.delay, other.delay), (Duration::ZERO, Duration::from_secs(1)));
    let (post, _) = ask(&get.replace("GET", "POST"), "");
    assert!(first.head != post.head && first.head == other.head);
    for n in 0..1000 {
        ask(&get, &format!(r#""lane":"{n}""#));
        assert!(Arc::ptr_eq(&first, &ask(&get, "").0), "what is asked for is kept");
    }
    assert!(!Arc::ptr_eq(&other, &ask(&get, r#""delay":"1s""#).0), "what is not is forgotten");
}

#[test]
fn a_row_that_is_the_body_keeps_its_text() {
    let row = r#"{ "n" : 1e400 , "deep":[[{"a":[]}]], "u":"\u00e9" }"#;
    let body = format!(r#"{{"endpoint":{{"method":"PUT",{URL}}},"data":[ {row} ]}}"#);
    let request = parse(body.as_bytes(), &limits()).unwrap();
    assert_eq!(
        request.envelope.endpoint.fill(&request.rows[0]).unwrap().body.as_deref(),
        Some(row)
    );
}
