//! Which URLs an endpoint accepts, and which targets it sends.

use super::*;

fn refused(url: &str) -> UrlError {
    let error = Endpoint::compile(get(url)).expect_err(url);
    assert_eq!(error.place(), "endpoint.url");
    match error.fault {
        Fault::Url(error) => error,
        other => panic!("{url}: {other}"),
    }
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
fn only_http_and_https_are_called() {
    let others =
        "a.com //a.com/ ftp://a.com/ http:a.com http:/a.com {x}://a.com {+x} http{x}://a.com";
    for url in others.split(' ').chain(["", " http://a.com"]) {
        assert_eq!(refused(url), UrlError::Scheme, "{url}");
    }
}

#[test]
fn userinfo_is_refused() {
    for authority in ["u@a.com", "u:p@a.com", "@a.com", "a.com\\@b.com", "a@b@c"] {
        assert_eq!(refused(&format!("http://{authority}/")), UrlError::Userinfo, "{authority}");
    }
}

#[test]
fn what_is_no_host_or_port_is_refused() {
    let hosts = "a%2ecom a\\b a..com .com . a&b a! a,b a}b xn--a [::1 ::1] [::1]x [::1%25lo] [v1.x] \
        256.256.256.256 a.1 1.2.3.4.5";
    let long = ["a".repeat(64) + ".com", "a.".repeat(126) + "com"];
    let odd = ["", "a b"].into_iter().chain(long.iter().map(String::as_str));
    for host in hosts.split(' ').chain(odd) {
        assert!(matches!(refused(&format!("http://{host}/")), UrlError::Host(_)), "{host}");
    }
    for port in ["", "0", "65536", "65616", "+80", "-1", "8 0", "99999999999", "x", "８０"] {
        assert_eq!(refused(&format!("http://a.com:{port}/")), UrlError::Port(port.into()));
    }
}

#[test]
fn placeholders_before_the_path_are_refused() {
    for authority in
        ["{x}", "a{x}.com", "a.com{x}", "a.com{+x}", "a.com:{x}", "a.com{&x}", "u:{x}@a"]
    {
        assert_eq!(
            refused(&format!("http://{authority}/")),
            UrlError::PlaceholderInHost,
            "{authority}"
        );
    }
}

#[test]
fn control_characters_and_fragments_are_refused_with_their_position() {
    let check = |url: &str, expect: UrlError| assert_eq!(refused(url), expect, "{url:?}");
    check("http://a.com/\n", UrlError::Control(14));
    check("http://a\t.com/", UrlError::Control(9));
    check("http://a.com/é\u{7f}", UrlError::Control(15));
    check("ht\ntp://a.com", UrlError::Control(3));
    check("http://a.com/{x\0}", UrlError::Control(16));
    check("http://a.com#", UrlError::Fragment(13));
    check("http://a.com/é#x", UrlError::Fragment(15));
    check("http://a.com/{x}?y#{z}", UrlError::Fragment(19));
    check("http://a.com/{#x}", UrlError::FragmentPlaceholder);
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
    // What a `{/v}` or `{?v}` without a value leaves to the segment before it.
    check("{/v}..", Value::Null, Some(".."));
    check("/a/{/v}..", Value::Null, Some(".."));
    check("/a/.{/v}.", Value::Null, Some(".."));
    check("/a/.{?v}.", Value::Null, Some(".."));
    check("/a/{?v}.", Value::Null, Some("."));
    check("/a{/v}/..", Value::Null, None);
    check("/a/..{/v}/..", Value::Null, None);
}

#[test]
fn a_value_that_means_something_in_urls_arrives_as_data() {
    let check = |value: &str, expect: &str| {
        let values = [("v", text(value)), ("url", text("http://b.com/"))];
        let filled = target("http://a.com/p/{v}/{url:4}?q={v}", &values);
        assert_eq!(filled.unwrap(), format!("/p/{expect}/http?q={expect}"), "{value:?}");
    };
    check("&admin=1#@127.0.0.1", "%26admin%3D1%23%40127.0.0.1");
    check("x\r\nHost: b.com\r\n\r\n", "x%0D%0AHost%3A%20b.com%0D%0A%0D%0A");
    check("../..", "..%2F..");
    check("%2e%2e", "%252e%252e");
    check("{url}", "%7Burl%7D");
    check("//b.com\\@c.com:80", "%2F%2Fb.com%5C%40c.com%3A80");
    check("?x=1;y", "%3Fx%3D1%3By");
    check("\0\u{1b}[31m<script>", "%00%1B%5B31m%3Cscript%3E");
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
