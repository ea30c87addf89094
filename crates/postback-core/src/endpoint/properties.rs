//! What holds for every value: none leaves its component of the URL, and whatever comes, nothing panics.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest},
};

use super::{BodyTemplate, Endpoint, EndpointTemplate, Method, Unmatched};
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
];

/// Texts with a liking for what means something in URLs and templates.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(PIECES).prop_map(str::to_owned),
        any::<char>().prop_map(String::from)
    ];
    vec(piece, 0..8).prop_map(|pieces| pieces.concat())
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

proptest! {
    #[test]
    fn a_plain_value_changes_neither_scheme_nor_host_nor_path_depth_nor_parameters(
        values in vec(value(), 5),
        lead in "[a-z.]{0,2}",
    ) {
        let url = format!("https://a.com:8443/{lead}{{a}}/b/{{b}}{{c}}/?x={{a}}&{{d}}=1&y={{e*}}&z={{c}}");
        let endpoint = Endpoint::compile(get(&url)).unwrap();
        if let Ok(filled) = endpoint.fill(&values) {
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
        if let Ok(filled) = endpoint.fill(&values) {
            prop_assert!(is_url_text(&filled.target), "{}", filled.target);
            let url = endpoint.origin().url(&filled.target);
            let parsed = url::Url::parse(&url).unwrap();
            prop_assert_eq!(parsed.host_str(), Some("a.com"));
            prop_assert_eq!(Some(parsed.path()), filled.target.split('?').next());
            prop_assert_eq!(parsed.fragment(), None);
        }
    }

    #[test]
    fn any_template_with_any_row_gives_url_text_or_an_error(
        parts in vec(prop_oneof![hostile(), Just("{".to_owned()), Just("}".to_owned()), Just("{a".to_owned()), Just(":3}".to_owned()), Just("*}".to_owned()), Just("{/b}".to_owned()), Just("{?b*}".to_owned())], 0..6),
        reject in any::<bool>(),
        row in vec(value(), 0..6),
    ) {
        let text = parts.concat();
        let template = EndpointTemplate {
            headers: vec![("X-A".into(), text.clone())],
            body: BodyTemplate::Text(text.clone()),
            reference: Some(text.clone()),
            unmatched: if reject { Unmatched::Reject } else { Unmatched::Text(text.clone()) },
            ..get(&format!("http://a.com{text}"))
        };
        for headers in [template.headers.clone(), vec![]] {
            if let Ok(endpoint) = Endpoint::compile(EndpointTemplate { headers, ..template.clone() })
                && let Ok(filled) = endpoint.fill(&row)
            {
                prop_assert!(is_url_text(&filled.target), "{}", filled.target);
                let clean = |value: &str| !value.bytes().any(|byte| byte.is_ascii_control());
                prop_assert!(filled.headers.iter().all(|(_, value)| clean(value)));
            }
        }
    }

    #[test]
    fn a_json_body_is_json_whatever_the_row(values in vec(value(), 3)) {
        let json = r#"{"a":"{a}","b":["x {b} {{c}}","{c|\"}"],"{a}":1.10}"#;
        let template = EndpointTemplate { body: BodyTemplate::Json(json.into()), ..get("http://a.com/") };
        let endpoint = Endpoint::compile(template).unwrap();
        let row: Row<'_> = values.iter().map(finite).collect();
        let body = endpoint.fill(&row).unwrap().body.unwrap();
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
