//! What an endpoint accepts, and what it sends for a row.

use super::*;
use crate::value::{Row, Value};

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

fn refused(url: &str) -> UrlError {
    let error = Endpoint::compile(get(url)).expect_err(url);
    assert_eq!(error.place(), "endpoint.url");
    match error.fault {
        Fault::Url(error) => error,
        other => panic!("{url}: {other}"),
    }
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

#[test]
fn an_origin_is_normalised() {
    let check = |url: &str, tls: bool, host: &str, port: u16, authority: &str| {
        let endpoint = Endpoint::compile(get(url)).unwrap();
        let origin = Origin { tls, host: host.into(), port };
        assert_eq!(endpoint.origin(), &origin, "{url}");
        assert_eq!(origin.authority(), authority);
        assert_eq!(origin.host_port(), format!("{host}:{port}"));
    };
    check("http://A.com", false, "a.com", 80, "a.com");
    check("HTTPS://a.com:443/x", true, "a.com", 443, "a.com");
    check("http://a.com:443/", false, "a.com", 443, "a.com:443");
    check("https://a.com:8443?x", true, "a.com", 8443, "a.com:8443");
    check("http://a.com:0080/", false, "a.com", 80, "a.com");
    check("http://a_b.com./", false, "a_b.com.", 80, "a_b.com.");
    check("http://münchen.de/", false, "xn--mnchen-3ya.de", 80, "xn--mnchen-3ya.de");
    check("http://127.1/", false, "127.0.0.1", 80, "127.0.0.1");
    check("http://[::FFFF:127.0.0.1]:81/", false, "[::ffff:7f00:1]", 81, "[::ffff:7f00:1]:81");
    check("http://a.com{/x}", false, "a.com", 80, "a.com");
    check("http://a.com:81{?x}", false, "a.com", 81, "a.com:81");
}

#[test]
fn urls_that_lead_elsewhere_than_they_seem_are_refused() {
    for url in [
        "",
        "a.com",
        "//a.com/",
        "ftp://a.com/",
        "http:a.com",
        "http:/a.com",
        "{x}://a.com",
        "{+x}",
        " http://a.com",
        "http{x}://a.com",
    ] {
        assert_eq!(refused(url), UrlError::Scheme, "{url}");
    }
    for url in [
        "http://u@a.com/",
        "http://u:p@a.com/",
        "http://@a.com/",
        "http://a.com\\@b.com/",
        "http://a@b@c/",
    ] {
        assert_eq!(refused(url), UrlError::Userinfo, "{url}");
    }
    for host in [
        "",
        "a b",
        "a%2ecom",
        "a\\b",
        "a..com",
        ".com",
        "a&b",
        "a!",
        "[::1",
        "::1]",
        "[::1%25lo]",
        "[v1.x]",
        "a,b",
        "256.256.256.256",
        "a.1",
        "xn--a",
        "a}b",
        "1.2.3.4.5",
        "[::1]x",
        ".",
    ] {
        assert!(matches!(refused(&format!("http://{host}/")), UrlError::Host(_)), "{host}");
    }
    assert!(matches!(refused(&format!("http://{}.com/", "a".repeat(64))), UrlError::Host(_)));
    assert!(matches!(refused(&format!("http://{}com/", "a.".repeat(126))), UrlError::Host(_)));
    for port in ["", "0", "65536", "65616", "+80", "-1", "8 0", "99999999999", "x", "８０"] {
        assert_eq!(refused(&format!("http://a.com:{port}/")), UrlError::Port(port.into()));
    }
    for url in [
        "http://{x}/",
        "http://a{x}.com/",
        "http://a.com{x}",
        "http://a.com{+x}",
        "http://a.com:{x}/",
        "http://a.com{&x}",
        "http://a.com{#x}",
    ] {
        assert_eq!(refused(url), UrlError::PlaceholderInHost, "{url}");
    }
    for (url, at) in [
        ("http://a.com/\n", 14),
        ("http://a\t.com/", 9),
        ("http://a.com/é\u{7f}", 15),
        ("ht\ntp://a.com", 3),
        ("http://a.com/{x\0}", 16),
    ] {
        assert_eq!(refused(url), UrlError::Control(at), "{url}");
    }
    for (url, at) in
        [("http://a.com#", 13), ("http://a.com/é#x", 15), ("http://a.com/{x}?y#{z}", 19)]
    {
        assert_eq!(refused(url), UrlError::Fragment(at), "{url}");
    }
    assert_eq!(refused("http://a.com/{#x}"), UrlError::FragmentPlaceholder);
}

#[test]
fn a_bad_template_names_its_character() {
    let check = |url: &str, expect: &str| {
        let error = Endpoint::compile(get(url)).unwrap_err();
        assert_eq!(error.place(), "endpoint.url");
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("http://a.com/{x", "`{` at character 14 is not closed");
    check("http://a.com/x}", "`}` at character 15 closes nothing");
    check("http://a.com/é{}", "placeholder at character 15 has an empty name");
    check("http://a.com/{x:0}", "placeholder at character 14 has a bad modifier");
}

#[test]
fn a_target_begins_with_a_slash_and_is_sent_as_written() {
    let check = |url: &str, expect: &str| {
        let values = [("v", text("a/b c")), ("u", Value::Null), ("e", text(""))];
        assert_eq!(target(url, &values).as_deref(), Ok(expect), "{url}");
    };
    check("http://a.com", "/");
    check("http://a.com?x=1", "/?x=1");
    check("http://a.com{?v}", "/?v=a%2Fb%20c");
    check("http://a.com{?u}", "/");
    check("http://a.com{/v}", "/a%2Fb%20c");
    check("http://a.com{/e}", "/");
    check("http://a.com{/u}", "/");
    check("http://a.com{/u}{?v}", "/?v=a%2Fb%20c");
    check("http://a.com{/u}b", "/b");
    check("http://a.com//x//", "//x//");
    check("http://a.com/../a/./%2e%2E/b", "/../a/./%2e%2E/b");
    check("http://a.com/../{v}", "/../a%2Fb%20c");
    check("http://a.com/a b/é/%zz/\"", "/a%20b/%C3%A9/%25zz/%22");
    check("http://a.com/{+v}?{+v}", "/a/b%20c?a/b%20c");
    check("http://a.com/?u=http%3A%2F%2F127.0.0.1", "/?u=http%3A%2F%2F127.0.0.1");
    check("http://a.com/{u|#}{+u|#}", "/%23%23");
    check("http://a.com/?a={u|?}", "/?a=%3F");
}

#[test]
fn a_path_segment_of_dots_by_a_value_refuses_the_row() {
    let check = |path: &str, value: Value<'_>, expect: Option<&str>| {
        let filled = target(&format!("http://a.com{path}"), &[("v", value)]);
        let segment = match filled {
            Ok(_) => None,
            Err(FillError::DotSegment { segment, .. }) => Some(segment),
            Err(other) => panic!("{path}: {other}"),
        };
        assert_eq!(segment.as_deref(), expect, "{path}");
    };
    let list = |items: &[&'static str]| Value::List(items.iter().map(|item| text(item)).collect());
    for dots in [".", "..", "%2e", "%2E.", ".%2e", "%2e%2E"] {
        check("/a/{+v}", text(dots), Some(dots));
        check("/a/{+v}/b?c", text(dots), Some(dots));
        check("/{+v}", text(&format!("x/{dots}/y")), Some(dots));
        check("/{+v}", text(&format!("x/{dots}?y")), Some(dots));
        check("/a?b={+v}", text(&format!("/{dots}/")), None);
    }
    check("/{v}", text(".."), Some(".."));
    check("/a/.{v}/b", text("."), Some(".."));
    check("/a/.{v}/b", text(""), Some("."));
    check("/a/.{v}/b", Value::Null, Some("."));
    check("/a/{v}.", text("."), Some(".."));
    check("/a/%2e{v}", text("."), Some("%2e."));
    check("/a{/v}", text("."), Some("."));
    check("{/v}", text(".."), Some(".."));
    check("{/u,v}", text(".."), Some(".."));
    check("{/u}{/v}/x", text(".."), Some(".."));
    check("{/u}/x/{v}", text(".."), Some(".."));
    check("/a{/v*}/b", list(&["x", "..", "y"]), Some(".."));
    check("/a/.{.v}", text("."), None);
    check("/a/{.v}", text(""), Some("."));
    check("/a/{.v}", text("."), Some(".."));
    check("/{v}", text("..."), None);
    check("/{v}", text("%2e"), None);
    check("/{v}", text("../x"), None);
    check("/{v}", text("a."), None);
    check("/../{v}/./x", text("ok"), None);
    check("/..{/v}", text("ok"), None);
    check("/..{/v}", Value::Null, None);
    check("/..{?v}", text("ok"), None);
    check("/{v|..}", Value::Null, Some(".."));
}

#[test]
fn a_url_over_8_kib_refuses_the_row() {
    let room = MAX_URL - "http://a.com/".len();
    let check = |url: &str, length: usize, fits: bool| {
        let filled = target(url, &[("v", text(&"x".repeat(length)))]);
        assert_eq!(
            filled.as_ref().err(),
            (!fits).then_some(&FillError::UrlTooLong),
            "{url} {length}"
        );
    };
    check("http://a.com/{v}", room, true);
    check("http://a.com/{v}", room + 1, false);
    check("http://a.com{?v}", room - 3, true);
    check("http://a.com{?v}", room - 2, false);
    check("http://a.com:81/{v}", room - 3, true);
    check("http://a.com:81/{v}", room - 2, false);
    check("http://a.com/?{v}", 10_000_000, false);
    check(&format!("http://a.com/{}", "y".repeat(room)), 0, true);
    check(&format!("http://a.com/{}", "y".repeat(room + 1)), 0, false);
}

#[test]
fn a_prefix_of_a_list_refuses_the_row() {
    let filled = target("http://a.com/{x}/{v:3}", &[("v", Value::List(vec![])), ("x", text("x"))]);
    assert_eq!(filled.as_deref(), Ok("/x/"));
    let filled = target("http://a.com/{x}/{v:3}", &[("v", Value::List(vec![text("a")]))]);
    assert_eq!(filled.unwrap_err().name(), Some("v"));
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

/// The cases of `../shared/cases/hostile_urls.tsv` that only deliver can judge: names, addresses, ports.
fn is_delivers(id: &str) -> bool {
    let by_address = id.starts_with(['A', 'B', 'C', 'F']);
    let by_syntax = ["B15", "B16", "C12", "C21", "F4"];
    (by_address && !by_syntax.contains(&id)) || ["D25", "D26"].contains(&id)
}

#[test]
fn hostile_urls_are_refused_by_syntax_or_normalised_for_deliver() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/cases/hostile_urls.tsv");
    let Ok(cases) = std::fs::read_to_string(path) else {
        println!("skipped: {path} is not there");
        return;
    };
    let mut checked = 0;
    for case in cases.lines().skip(1) {
        let [id, group, url, verdict] = case.split('\t').collect::<Vec<_>>()[..] else {
            panic!("not four columns: {case}")
        };
        let url = url.split(" (").next().unwrap().replace("\\t", "\t").replace("\\n", "\n");
        let compiled = Endpoint::compile(get(&url));
        assert_eq!(compiled.is_ok(), verdict != "BLOCK" || is_delivers(id), "{id} {url:?}");
        if let (Ok(endpoint), true) = (compiled, group.starts_with("ip")) {
            let host = &endpoint.origin().host;
            let bare = host.trim_matches(['[', ']']);
            assert!(bare.parse::<std::net::IpAddr>().is_ok(), "{id} {host}");
        }
        checked += 1;
    }
    assert!(checked > 50);
}
