//! What an endpoint accepts, and what it sends for a row.

use super::*;
use crate::value::{Row, Value};

mod urls;

fn get(url: &str) -> EndpointTemplate {
    EndpointTemplate {
        method: Method::Get,
        url: url.into(),
        headers: vec![],
        body: BodyTemplate::None,
        reference: None,
        unmatched: Unmatched::Text(String::new()),
    }
}

fn text(text: &str) -> Value<'_> {
    Value::Text(text.into())
}

/// A row with these values, and null for every other name.
fn row<'v>(endpoint: &Endpoint, values: &[(&str, Value<'v>)]) -> Row<'v> {
    let value = |name: &String| values.iter().find(|(given, _)| given == name);
    let found = endpoint.names().iter().map(value);
    found.map(|found| found.map_or(Value::Null, |(_, value)| value.clone())).collect()
}

fn target(url: &str, values: &[(&str, Value<'_>)]) -> Result<String, FillError> {
    let endpoint = Endpoint::compile(get(url)).unwrap();
    endpoint.fill(&row(&endpoint, values)).map(|filled| filled.target)
}

#[test]
fn the_sample_request_is_filled_in_by_name() {
    let url = "http://sample_domain_endpoint.com/data?title={mascot}&image={location}&foo={bar}";
    let endpoint = Endpoint::compile(get(url)).unwrap();
    assert_eq!(endpoint.names(), ["mascot", "location", "bar"]);
    let values = [
        ("location", text("https://blog.golang.org/gopher/gopher.png")),
        ("mascot", text("Gopher")),
    ];
    let filled = endpoint.fill(&row(&endpoint, &values)).unwrap();
    let image = "https%3A%2F%2Fblog.golang.org%2Fgopher%2Fgopher.png";
    assert_eq!(filled.target, format!("/data?title=Gopher&image={image}&foo="));
    assert_eq!(filled.unmatched, ["bar"]);
    assert_eq!((filled.headers, filled.body, filled.reference), (vec![], None, None));
    let url = endpoint.origin().url(&filled.target);
    assert_eq!(
        url,
        format!("http://sample_domain_endpoint.com/data?title=Gopher&image={image}&foo=")
    );
}

fn post(headers: &[(&str, &str)], body: BodyTemplate) -> EndpointTemplate {
    let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
    EndpointTemplate { method: Method::Post, headers, body, ..get("http://a.com/") }
}

#[test]
fn headers_are_filled_in_unencoded_and_in_order() {
    let headers = [("X-Click", "<{v}> {{x}} {u|none}"), ("User-Agent", "mine"), ("X-Empty", "{u}")];
    let endpoint = Endpoint::compile(post(&headers, BodyTemplate::None)).unwrap();
    let filled = endpoint.fill(&row(&endpoint, &[("v", text("a b/é"))])).unwrap();
    let expect = [("X-Click", "<a b/é> {x} none"), ("User-Agent", "mine"), ("X-Empty", "")];
    assert_eq!(filled.headers, expect.map(|(name, value)| (name, value.to_owned())));
    assert_eq!(filled.unmatched, ["u"]);
}

#[test]
fn headers_that_may_not_be_set_are_refused_by_name() {
    let check = |name: &str, value: &str, expect: HeaderError| {
        let error = Endpoint::compile(post(&[("X-A", "1"), (name, value)], BodyTemplate::None))
            .unwrap_err();
        assert_eq!(error.place(), format!("endpoint.headers.{name}"));
        assert_eq!(error.fault, Fault::Header(expect), "{name}");
    };
    for name in ["", "a b", "a:b", "é", "a\r\nb", "(a)", "a/b", "{x}", "a\0"] {
        check(name, "", HeaderError::Name);
    }
    for name in [
        "Host",
        "content-length",
        "Connection",
        "KEEP-ALIVE",
        "Proxy-Authorization",
        "proxy-connection",
        "TE",
        "Trailer",
        "Transfer-Encoding",
        "Upgrade",
        "Expect",
        "webhook-id",
        "Webhook-Signature",
        "traceparent",
    ] {
        check(name, "", HeaderError::Reserved);
    }
    for value in ["a\r\nX-B: 1", "\n", "\r", "a\0", "\u{7f}", "\t", "{x|\n}"] {
        check("X-B", value, HeaderError::Control);
    }
    check("x-a", "", HeaderError::Duplicate);
    let many: Vec<_> = (0..=MAX_HEADERS).map(|n| format!("X-{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    let error = Endpoint::compile(post(&many, BodyTemplate::None)).unwrap_err();
    assert_eq!(error.place(), "endpoint.headers");
    assert_eq!(error.fault, Fault::Header(HeaderError::TooMany));
    assert!(Endpoint::compile(post(&many[1..], BodyTemplate::None)).is_ok());
    assert!(
        Endpoint::compile(post(
            &[("Tea", ""), ("Hosts", ""), ("A!#$%&'*+-.^_`|~9", "")],
            BodyTemplate::None
        ))
        .is_ok()
    );
}

#[test]
fn a_value_cannot_bring_a_control_character_into_a_header() {
    let endpoint = Endpoint::compile(post(&[("X-A", "{u}{v}")], BodyTemplate::None)).unwrap();
    for value in ["a\r\nX-B: 1", "\n", "\0", "\t", "\u{7f}"] {
        let error = endpoint.fill(&row(&endpoint, &[("v", text(value))])).unwrap_err();
        assert_eq!(error, FillError::HeaderControl { header: "X-A".into(), name: "v".into() });
    }
    let long = "x".repeat(MAX_HEADER + 1);
    assert!(endpoint.fill(&row(&endpoint, &[("v", text(&long[1..]))])).is_ok());
    let error = endpoint.fill(&row(&endpoint, &[("v", text(&long))])).unwrap_err();
    assert_eq!(error, FillError::HeaderTooLong("X-A".into()));
}

#[test]
fn a_body_is_written_by_its_content_type() {
    let check = |content_type: &[(&str, &str)], body: &str, expect: &str, sent: &str| {
        let endpoint =
            Endpoint::compile(post(content_type, BodyTemplate::Text(body.into()))).unwrap();
        let filled = endpoint.fill(&row(&endpoint, &[("v", text("a \"b\"&"))])).unwrap();
        assert_eq!(filled.body.as_deref(), Some(expect), "{content_type:?}");
        let sent_as: Vec<_> =
            filled.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let name = content_type.first().map_or("Content-Type", |(name, _)| name);
        assert_eq!(sent_as, [(name, sent)]);
    };
    check(&[], "v={v}", "v=a \"b\"&", "text/plain; charset=utf-8");
    for json in [
        "application/json",
        "Application/JSON ; charset=utf-8",
        "application/vnd.x+json",
        "text/json",
    ] {
        check(&[("content-type", json)], r#"{"v":{"w":"{v}"}}"#, r#"{"v":{"w":"a \"b\"&"}}"#, json);
    }
    let form = "application/x-www-form-urlencoded";
    check(&[("Content-Type", form)], "v={v}&w={w}", "v=a+%22b%22%26&w=", form);
    check(&[("CONTENT-TYPE", "text/xml")], "<v>{v}</v>", "<v>a \"b\"&</v>", "text/xml");
    check(&[("Content-Type", "application/jsonp")], "{v}", "a \"b\"&", "application/jsonp");
}

#[test]
fn a_json_body_takes_values_with_their_type() {
    let body = BodyTemplate::Json(r#"{"a":"{v}","b":["{v}/{n}","{n}","{u}"]}"#.into());
    let endpoint = Endpoint::compile(post(&[], body)).unwrap();
    let values = [("v", text("\"")), ("n", Value::Literal("1.10".into()))];
    let filled = endpoint.fill(&row(&endpoint, &values)).unwrap();
    assert_eq!(filled.body.as_deref(), Some(r#"{"a":"\"","b":["\"/1.10",1.10,null]}"#));
    assert_eq!(filled.headers, [("Content-Type", "application/json".to_owned())]);
    for body in ["", "\"x\"", "1", "{", "[1,]", "{\"a\":}"] {
        let error = Endpoint::compile(post(&[], BodyTemplate::Json(body.into()))).unwrap_err();
        assert_eq!(error.place(), "endpoint.body", "{body}");
    }
}

#[test]
fn a_row_as_body_is_sent_as_it_arrived() {
    let template =
        EndpointTemplate { url: "http://a.com/{v}".into(), ..post(&[], BodyTemplate::Row) };
    let endpoint = Endpoint::compile(template).unwrap();
    assert!(endpoint.body_is_row());
    let json = r#"{"v":1.10, "w":[ ]}"#;
    let filled =
        endpoint.fill(&vec![Value::Literal("1.10".into()), Value::Literal(json.into())]).unwrap();
    assert_eq!((filled.target.as_str(), filled.body.as_deref()), ("/1.10", Some(json)));
    assert_eq!(filled.headers, [("Content-Type", "application/json".to_owned())]);
}

#[test]
fn a_row_that_is_too_short_or_too_long_does_no_harm() {
    let template =
        EndpointTemplate { url: "http://a.com/{v}".into(), ..post(&[], BodyTemplate::Row) };
    let endpoint = Endpoint::compile(template).unwrap();
    let filled = endpoint.fill(&vec![]).unwrap();
    assert_eq!((filled.body.as_deref(), filled.unmatched), (Some("null"), vec!["v"]));
    assert!(endpoint.fill(&vec![Value::Null; 9]).is_ok());
}

#[test]
fn the_ref_is_filled_in_or_absent() {
    let check = |reference: Option<&str>, expect: Option<&str>| {
        let template =
            EndpointTemplate { reference: reference.map(Into::into), ..get("http://a.com/") };
        let endpoint = Endpoint::compile(template).unwrap();
        let filled = endpoint.fill(&row(&endpoint, &[("v", text("click 1"))])).unwrap();
        assert_eq!(filled.reference.as_deref(), expect);
    };
    check(None, None);
    check(Some("{v}"), Some("click 1"));
    check(Some("c-{v:5}"), Some("c-click"));
    check(Some("{u}"), None);
    let template = EndpointTemplate { reference: Some("{v}".into()), ..get("http://a.com/") };
    let endpoint = Endpoint::compile(template).unwrap();
    let filled = endpoint.fill(&vec![text(&"x".repeat(MAX_REF + 1))]);
    assert_eq!(filled.unwrap_err(), FillError::RefTooLong);
}

/// An endpoint that uses `a` to `d` in this order, `a` twice, `c` with a fallback.
fn everywhere(unmatched: Unmatched) -> Endpoint {
    Endpoint::compile(EndpointTemplate {
        reference: Some("{d}".into()),
        unmatched,
        url: "http://a.com/x{?a,b}".into(),
        ..post(&[("X", "{c|own}{a}")], BodyTemplate::Text("{b}{c|}".into()))
    })
    .unwrap()
}

#[test]
fn each_unmatched_name_is_reported_once_and_gets_the_policys_text() {
    let endpoint = everywhere(Unmatched::Text("n/a".into()));
    assert_eq!(endpoint.names(), ["a", "b", "c", "d"]);
    let filled = endpoint.fill(&vec![]).unwrap();
    assert_eq!(filled.unmatched, ["a", "b", "c", "d"]);
    assert_eq!(filled.target, "/x?a=n%2Fa&b=n%2Fa");
    assert_eq!(filled.headers[0], ("X", "ownn/a".to_owned()));
    assert_eq!((filled.body.as_deref(), filled.reference.as_deref()), (Some("n/a"), Some("n/a")));
    let empty = vec![text(""), Value::List(vec![]), Value::Object(vec![]), text("d")];
    let filled = endpoint.fill(&empty).unwrap();
    assert_eq!((filled.target.as_str(), filled.unmatched), ("/x?a=", vec![]));
}

#[test]
fn reject_refuses_names_without_a_value_and_a_fallback_of_their_own() {
    let endpoint = everywhere(Unmatched::Reject);
    let refused = |row: &Row<'_>| endpoint.fill(row).unwrap_err();
    assert_eq!(refused(&vec![]), FillError::Unmatched("a".into()));
    assert_eq!(refused(&vec![text("1"), text("2"), text("3")]).name(), Some("d"));
    let row = vec![text("1"), text("2"), Value::Null, text("4")];
    assert_eq!(endpoint.fill(&row).unwrap().unmatched, ["c"]);
    let both = EndpointTemplate { unmatched: Unmatched::Reject, ..get("http://a.com/{x|1}/{x}") };
    let error = Endpoint::compile(both).unwrap().fill(&vec![]).unwrap_err();
    assert_eq!(error, FillError::Unmatched("x".into()));
}

#[test]
fn what_a_body_may_come_to_is_bounded() {
    let body = BodyTemplate::Text("{v}".repeat(100));
    let endpoint = Endpoint::compile(post(&[], body)).unwrap();
    let filled = endpoint.fill(&vec![text(&"x".repeat(1 << 20))]);
    assert_eq!(filled.unwrap_err(), FillError::BodyTooLong);
}
