//! What holds for every value: none leaves its component of the URL, and whatever comes, nothing panics.

use proptest::{
    collection::vec,
    prelude::{
        Just, ProptestConfig, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest,
    },
    sample::select,
    test_runner::TestCaseError,
};

use super::{
    BodyTemplate, Endpoint, EndpointTemplate, FillError, Filled, MAX_URL, Method, Unmatched,
};
use crate::value::{Row, Value};

/// What means something in URLs and templates.
const PIECES: &[&str] = &[
    "/",
    "?",
    "&",
    "=",
    "#",
    "%",
    "%2e",
    "%2F",
    ".",
    "..",
    "@",
    ":",
    ";",
    "\\",
    " ",
    "\r\n",
    "\0",
    "é",
    "😀",
    "+",
    "{",
    "}",
    "{x}",
    "|",
    ",",
    "*",
    "\"",
    "[",
    "]",
    "//",
    "http://b.com",
    "a",
    "1",
    "\u{7f}",
    "\u{202e}",
    "&admin=1#@127.0.0.1",
    "@127.0.0.1/",
    "%2e%2e",
    "/../",
    "{url}",
    "{/b}",
    "{?b*}",
    "{+b}",
    "{;b,a*}",
    "{.b}",
    "{{",
    "}}",
    ":3}",
    "*}",
];

/// Texts with a liking for what means something in URLs and templates.
fn hostile() -> impl Strategy<Value = String> {
    let piece =
        prop_oneof![select(PIECES).prop_map(str::to_owned), any::<char>().prop_map(String::from)];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

/// Texts of what segments of a path are made from.
fn segments() -> impl Strategy<Value = String> {
    let pieces = "/ / . . .. %2e a {a} {+a} {/a} {/b*} {?a} {;a} {.a} {a|.} {a|} ?";
    let pieces: Vec<&str> = pieces.split(' ').collect();
    vec(select(pieces), 0..6).prop_map(|pieces| pieces.concat())
}

/// Values of dots or of nothing.
fn dotted() -> impl Strategy<Value = Value<'static>> {
    let text = |text: &'static str| Just(Value::Text(text.into()));
    let list = Value::List(vec![Value::Text(".".into()), Value::Null, Value::Text("..".into())]);
    prop_oneof![text(""), text("."), text(".."), text("x"), Just(Value::Null), Just(list)]
}

fn scalar() -> impl Strategy<Value = Value<'static>> {
    prop_oneof![
        3 => hostile().prop_map(|text| Value::Text(text.into())),
        1 => any::<f64>().prop_map(|n| Value::Literal(n.to_string().into())),
        1 => Just(Value::Null),
    ]
}

fn value() -> impl Strategy<Value = Value<'static>> {
    scalar().prop_recursive(3, 16, 4, |inner| {
        let pair = (hostile(), inner.clone()).prop_map(|(name, value)| (name.into(), value));
        prop_oneof![vec(inner, 0..4).prop_map(Value::List), vec(pair, 0..4).prop_map(Value::Object)]
    })
}

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

fn is_url_text(target: &str) -> bool {
    let legal = |b: u8| b.is_ascii_alphanumeric() || b"-._~:/?[]@!$&'()*+,;=%".contains(&b);
    let triplet = |rest: &str| {
        let digits = rest.as_bytes().get(..2);
        digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    target.starts_with('/') && target.bytes().all(legal) && target.split('%').skip(1).all(triplet)
}

/// Whether what is sent goes where the template leads, read by another parser.
fn stays_at_its_origin(endpoint: &Endpoint, filled: &Filled<'_>) -> Result<(), TestCaseError> {
    let origin = endpoint.origin();
    let url = origin.url(&filled.target);
    prop_assert!(is_url_text(&filled.target) && url.len() <= MAX_URL, "{}", url);
    let parsed = url::Url::parse(&url).unwrap();
    prop_assert_eq!(parsed.scheme(), if origin.tls { "https" } else { "http" });
    prop_assert_eq!(parsed.host_str(), Some(origin.host.as_str()));
    prop_assert_eq!(parsed.port_or_known_default(), Some(origin.port));
    prop_assert_eq!((parsed.username(), parsed.password(), parsed.fragment()), ("", None, None));
    Ok(())
}

/// The row filled in, where that is possible; and so it must be, within the bound, where there is a bound.
fn agreed<'e>(
    endpoint: &'e Endpoint,
    row: &Row<'_>,
) -> Result<Result<Filled<'e>, FillError>, TestCaseError> {
    let filled = endpoint.fill(row);
    if let Some(bound) = endpoint.bound(row) {
        prop_assert!(filled.is_ok(), "{filled:?}");
        let headers = filled.iter().flat_map(|filled| &filled.headers);
        let headers: usize = headers.map(|(name, value)| name.len() + value.len()).sum();
        let texts = filled.iter().flat_map(|filled| [Some(&filled.target), filled.body.as_ref()]);
        let sent = headers + texts.flatten().map(String::len).sum::<usize>();
        prop_assert!(sent <= bound, "{sent} bytes of {bound}: {filled:?}");
    }
    Ok(filled)
}

/// The path of a template when no placeholder adds to a segment.
fn without_placeholders(url: &str) -> String {
    let mut parts = url.split('{');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (expression, literal) = part.split_once('}').unwrap_or_default();
        // Of the operators that begin a segment or the query, a segment before them is no part.
        text += if expression.starts_with(['/', '?']) { "/x" } else { "x" };
        text += literal;
    }
    text
}

/// How many segments of a path are `.` and how many `..`, encoded or not.
fn dots(path: &str) -> [usize; 2] {
    let plain = path.replace("%2e", ".").replace("%2E", ".");
    [".", ".."].map(|dots| plain.split(['/', '?']).filter(|segment| *segment == dots).count())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn a_plain_value_changes_neither_scheme_nor_host_nor_path_depth_nor_parameters(
        values in vec(value(), 5),
        lead in "[a-z.]{0,2}",
    ) {
        let url = format!("https://a.com:8443/{lead}{{a}}/b/{{b}}{{c}}/?x={{a}}&{{d}}=1&y={{e*}}&z={{c}}");
        let endpoint = Endpoint::compile(get(&url)).unwrap();
        if let Ok(filled) = agreed(&endpoint, &values)? {
            let url = endpoint.origin().url(&filled.target);
            let parsed = url::Url::parse(&url).unwrap();
            prop_assert_eq!(parsed.scheme(), "https");
            prop_assert_eq!(parsed.host_str(), Some("a.com"));
            prop_assert_eq!(parsed.port(), Some(8443));
            prop_assert_eq!(parsed.username(), "");
            prop_assert_eq!(parsed.path().split('/').count(), 5);
            let query = parsed.query().unwrap();
            prop_assert_eq!(query.split('&').count(), 4);
            prop_assert!(query.starts_with("x=") && query.contains("=1&y=") && query.contains("&z="));
            prop_assert_eq!(parsed.fragment(), None);
            prop_assert_eq!(parsed.as_str(), url, "a parser finds nothing to normalise");
        }
    }

    #[test]
    fn a_plain_value_is_what_the_partner_decodes(text in hostile()) {
        let endpoint = Endpoint::compile(get("http://a.com/?x={a}")).unwrap();
        let filled = endpoint.fill(&vec![Value::Text(text.clone().into())]).unwrap();
        let url = url::Url::parse(&endpoint.origin().url(&filled.target)).unwrap();
        let pairs: Vec<_> = url.query_pairs().map(|(_, value)| value.into_owned()).collect();
        prop_assert_eq!(pairs, [text]);
    }

    #[test]
    fn no_operator_lets_a_value_out_of_the_target_or_up_the_path(
        values in vec(value(), 4),
        unmatched in hostile(),
    ) {
        let url = "http://a.com/x{/a,b*}/{+c}{.d,a*}{;b,c*}/{+d}.{a}{?a,b*,c|f}{&d}";
        let unmatched = Unmatched::Text(unmatched);
        let endpoint = Endpoint::compile(EndpointTemplate { unmatched, ..get(url) }).unwrap();
        if let Ok(filled) = agreed(&endpoint, &values)? {
            stays_at_its_origin(&endpoint, &filled)?;
            let parsed = url::Url::parse(&endpoint.origin().url(&filled.target)).unwrap();
            prop_assert_eq!(Some(parsed.path()), filled.target.split('?').next());
        }
    }

    #[test]
    fn any_template_with_any_row_gives_its_own_origin_and_no_new_dots_or_an_error(
        text in prop_oneof![hostile(), segments()],
        origin in select(&["http://a.com", "https://a.com:8443/", "http://[2606:4700::1]/x?"][..]),
        reject in any::<bool>(),
        long in 0..100usize,
        mut row in vec(prop_oneof![value(), dotted()], 0..6),
    ) {
        if long < 3 {
            row.push(Value::Text("é".repeat(1365 - 2 + long).into()));
            row.rotate_right(1);
        }
        let template = EndpointTemplate {
            headers: vec![("X-A".into(), text.clone())],
            body: BodyTemplate::Text(text.clone()),
            reference: Some(text.clone()),
            unmatched: if reject { Unmatched::Reject } else { Unmatched::Text(text.clone()) },
            ..get(&format!("{origin}{text}"))
        };
        for headers in [template.headers.clone(), vec![]] {
            if let Ok(endpoint) = Endpoint::compile(EndpointTemplate { headers, ..template.clone() })
                && let Ok(filled) = agreed(&endpoint, &row)?
            {
                stays_at_its_origin(&endpoint, &filled)?;
                let path = filled.target.split('?').next().unwrap_or_default();
                let literal = dots(&without_placeholders(&template.url));
                prop_assert!(dots(path).iter().zip(literal).all(|(sent, literal)| *sent <= literal), "{}", filled.target);
                let clean = |value: &str| !value.bytes().any(|byte| byte.is_ascii_control());
                prop_assert!(filled.headers.iter().all(|(_, value)| clean(value)));
            }
        }
    }

    #[test]
    fn a_url_with_a_brace_too_many_is_refused(
        before in hostile(),
        brace in select(&["{", "}", "{a", "a}", "{a{b}}", "{{a}", "{a}}"][..]),
        behind in hostile(),
    ) {
        let balanced = |text: &str| text.replace(['{', '}'], "");
        let url = format!("http://a.com/{}{brace}{}", balanced(&before), balanced(&behind));
        prop_assert!(Endpoint::compile(get(&url)).is_err(), "{}", url);
    }

    #[test]
    fn a_value_is_one_value_of_the_body_that_it_is_inserted_into(text in hostile()) {
        let filled = |content_type: &str, body: &str| {
            let headers = vec![("Content-Type".into(), content_type.into())];
            let body = BodyTemplate::Text(body.into());
            let endpoint = Endpoint::compile(EndpointTemplate { headers, body, ..get("http://a.com/") }).unwrap();
            endpoint.fill(&vec![Value::Text(text.clone().into())]).unwrap().body.unwrap()
        };
        let json = filled("application/json", r#"{"a":"{a}","b":1}"#);
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap(), serde_json::json!({"a": text, "b": 1}));
        let form = filled("application/x-www-form-urlencoded", "a={a}&b=1");
        let pairs: Vec<_> = url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        prop_assert_eq!(pairs, [("a".to_owned(), text.clone()), ("b".to_owned(), "1".to_owned())]);
    }

    #[test]
    fn a_json_body_is_json_whatever_the_row(values in vec(value(), 3)) {
        let json = r#"{"a":"{a}","b":["x {b} {{c}}","{c|\"}"],"{a}":1.10}"#;
        let template = EndpointTemplate { body: BodyTemplate::Json(json.into()), ..get("http://a.com/") };
        let endpoint = Endpoint::compile(template).unwrap();
        let row: Row<'_> = values.iter().map(finite).collect();
        let body = agreed(&endpoint, &row)?.unwrap().body.unwrap();
        prop_assert!(serde_json::from_str::<serde_json::Value>(&body).is_ok(), "{}", body);
    }

    #[test]
    fn any_url_compiles_or_is_refused(url in prop_oneof![hostile(), hostile().prop_map(|rest| format!("http://{rest}"))]) {
        if let Ok(endpoint) = Endpoint::compile(get(&url)) {
            let origin = endpoint.origin();
            let again = Endpoint::compile(get(&origin.url("/"))).unwrap();
            prop_assert_eq!(again.origin(), origin);
        }
    }
}

/// JSON has no `NaN` and `inf`.
fn finite(value: &Value<'static>) -> Value<'static> {
    match value {
        Value::Literal(text) if text.parse::<f64>().is_ok_and(|n| !n.is_finite()) => Value::Null,
        Value::List(items) => Value::List(items.iter().map(finite).collect()),
        Value::Object(pairs) => {
            Value::Object(pairs.iter().map(|(name, value)| (name.clone(), finite(value))).collect())
        }
        other => other.clone(),
    }
}
