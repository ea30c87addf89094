//! What holds for every body: nothing panics, a refusal names places, and what is accepted is what serde_json reads in
//! the same text.

use std::{collections::BTreeMap, sync::LazyLock};

use proptest::{
    collection::vec,
    prelude::{
        Just, ProptestConfig, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof,
        proptest,
    },
    sample::{Index, select},
    test_runner::TestCaseError,
};
use serde_json::{
    Value as Json,
    value::{RawValue, to_raw_value},
};

use super::*;
use crate::value::Value;

/// Requests that are right, of every shape.
const GOOD: [&str; 5] = [
    r#"{"endpoint":{"method":"GET","url":"http://a.com/x?k={k}"},"data":[{"k":1},{"k":"two"},{}]}"#,
    r#"{"endpoint":{"method":"POST","url":"http://a.com/{a.b}?{c*}","body":["{d}"]},"policy":{"delay":"1s"},
        "data":[{"a":{"b":"\ud83d\ude00"},"c":[1,{"x":null}],"d":{"e":1.5}}]}"#,
    r#"{"data":[{"n":1e400,"m":[[{"n":[]}]]},{"n":"\u00e9","m":12345678901234567890123}],
        "endpoint":{"method":"PUT","url":"https://a.com:8443/","headers":{"X-N":"{n}"}}}"#,
    r#"{"policy":{"unmatched":"u","ref":"r-{id}","lane":"bulk","expires_in":"1h","timeout":"250ms","retries":["5s"],
        "success":{"status":["200-204",404],"body_contains":"ok","body_excludes":null}},
        "endpoint":{"method":"PATCH","url":"http://a.com{/id,x}","body":"id={id}&x={x.y}"},"data":[{"id":true,"x":{"y":1.10}}]}"#,
    r#" { "data" : [ { } , {"a.b" : null , "a" : {"b":2}} ] , "endpoint" : { "url" : "http://a_b.com" ,
        "method" : "DELETE" , "body" : "{a.b|none}" } , "policy" : { "unmatched" : { "reject" : true } } } "#,
];

fn limits() -> Limits {
    Limits { max_rows: 100, unmatched: String::new() }
}

/// It knows the envelopes of other cases.
static READER: LazyLock<RequestReader> = LazyLock::new(|| RequestReader::new(limits()));

/// Whether a body is accepted, after what was made of it has been compared with what serde_json reads.
fn judge(body: &[u8]) -> Result<bool, TestCaseError> {
    let parsed = parse(body, &limits());
    same_encoded(&parsed, READER.encode(body))?;
    let request = match parsed {
        Ok(request) => request,
        Err(errors) => {
            let all = errors.as_slice();
            prop_assert!((1..=MAX_ERRORS).contains(&all.len()), "{}", all.len());
            prop_assert!(all.iter().all(|e| !e.place.is_empty() && !e.reason.is_empty()));
            prop_assert!(errors.to_string().starts_with(&all[0].to_string()));
            return Ok(false);
        }
    };
    let root = object(std::str::from_utf8(body).unwrap())?;
    let endpoint = object(root["endpoint"].get())?;
    let template = request.envelope.endpoint.template();
    prop_assert_eq!(&text(&endpoint["url"])?, &template.url);
    prop_assert_eq!(text(&endpoint["method"])?, template.method.as_str());
    let data: Vec<Box<RawValue>> = read(root["data"].get())?;
    prop_assert_eq!(request.rows.len(), data.len());
    for (row, given) in request.rows.iter().zip(&data) {
        let mut values = row.iter();
        for (name, value) in request.envelope.endpoint.names().iter().zip(&mut values) {
            same(value, look_up(given, name)?.as_deref())?;
        }
        let whole: Vec<_> = values.collect();
        let expect = Value::Literal(given.get().into());
        prop_assert_eq!(
            whole,
            request
                .envelope
                .endpoint
                .body_is_row()
                .then_some(&expect)
                .into_iter()
                .collect::<Vec<_>>()
        );
    }
    Ok(true)
}

/// That a request is the same where its envelope may be known and its rows are encoded at once.
fn same_encoded(
    parsed: &Result<Request<Vec<Row<'_>>>, RequestErrors>,
    encoded: Result<Request<EncodedRows>, RequestErrors>,
) -> Result<(), TestCaseError> {
    let parts = |envelope: &Envelope| (envelope.lane, envelope.delay, envelope.head.clone());
    match (parsed, encoded) {
        (Ok(parsed), Ok(encoded)) => {
            let (own, other) = (&parsed.envelope, &encoded.envelope);
            prop_assert_eq!(parts(own), parts(other));
            let rows = EncodedRows::new(own.endpoint.template(), &own.policy, &parsed.rows);
            prop_assert_eq!((&rows, &parsed.unmatched), (&encoded.rows, &encoded.unmatched));
        }
        (parsed, encoded) => prop_assert_eq!(parsed.as_ref().err(), encoded.as_ref().err()),
    }
    Ok(())
}

fn read<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Result<T, TestCaseError> {
    serde_json::from_str(text).map_err(|error| TestCaseError::fail(format!("{text}: {error}")))
}

type Object = BTreeMap<String, Box<RawValue>>;

fn object(text: &str) -> Result<Object, TestCaseError> {
    read(text)
}

fn text(value: &RawValue) -> Result<String, TestCaseError> {
    read(value.get())
}

/// The value of a name in a row: that of the key, or else at the path.
fn look_up(row: &RawValue, name: &str) -> Result<Option<Box<RawValue>>, TestCaseError> {
    if let Some(value) = object(row.get())?.remove(name) {
        return Ok(Some(value));
    }
    let mut at = row.to_owned();
    for key in name.split('.') {
        if !at.get().starts_with('{') {
            return Ok(None);
        }
        let Some(value) = object(at.get())?.remove(key) else { return Ok(None) };
        at = value;
    }
    Ok(Some(at))
}

/// Whether this value is what the text says, its characters included.
fn same(value: &Value<'_>, given: Option<&RawValue>) -> Result<(), TestCaseError> {
    let given = given.map_or("null", RawValue::get);
    match value {
        Value::Null => prop_assert_eq!(given, "null"),
        Value::Text(text) => prop_assert_eq!(text, &read::<String>(given)?),
        Value::Literal(text) => {
            prop_assert!(!given.starts_with(['"', '[', '{', 'n']), "{given}");
            prop_assert_eq!(text, given);
        }
        Value::List(items) => {
            let expect: Vec<Box<RawValue>> = read(given)?;
            prop_assert_eq!(items.len(), expect.len());
            for (item, expect) in items.iter().zip(&expect) {
                same(item, Some(expect))?;
            }
        }
        Value::Object(members) => {
            let expect = object(given)?;
            prop_assert_eq!(members.len(), expect.len());
            for (key, value) in members {
                same(value, expect.get(key.as_ref()).map(Box::as_ref).or(Some(RawValue::NULL)))?;
            }
        }
    }
    Ok(())
}

/// A change of a body's bytes; positions are taken modulo its length.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Cut(Index),
    /// A part of another request, put here.
    Splice(Index, Index, Index, Index),
    /// So many levels begun here.
    Nest(Index, &'static str, usize),
}

const TOKENS: [&str; 24] = [
    "\"", "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "null", "true", "-1.50E+2", "0",
    "\\u0061", "\\ud800", "\"a\":1,", "\"a\":", "{}", "[]", "{},", "\u{0}", "é", "\u{feff}",
];

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    let token = select(&TOKENS[..]).prop_map(|token| token.as_bytes().to_vec());
    let bytes = prop_oneof![4 => token, 1 => vec(any::<u8>(), 1..4)];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), bytes).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        (at(), 1..20usize).prop_map(|(at, length)| Change::Remove(at, length)),
        at().prop_map(Change::Cut),
        (at(), at(), at(), at()).prop_map(|(at, of, from, to)| Change::Splice(at, of, from, to)),
        (at(), select(&["[", "{\"a\":"][..]), select(&[1, 100, 125, 129, 100_000][..]))
            .prop_map(|(at, text, times)| Change::Nest(at, text, times)),
    ]
}

impl Change {
    fn make(&self, body: &mut Vec<u8>) {
        let end = body.len();
        let place = |at: &Index| at.index(end + 1);
        let mut insert = |at: usize, bytes: &[u8]| drop(body.splice(at..at, bytes.iter().copied()));
        match self {
            Change::Set(at, byte) => {
                if let Some(old) = body.get_mut(at.index(end + 1)) {
                    *old = *byte;
                }
            }
            Change::Insert(at, bytes) => insert(place(at), bytes),
            Change::Remove(at, length) => {
                let at = place(at);
                body.drain(at..(at + length).min(end));
            }
            Change::Cut(at) => body.truncate(place(at)),
            Change::Splice(at, of, from, to) => {
                let of = of.get(&GOOD).as_bytes();
                let (from, to) = (from.index(of.len()), to.index(of.len()));
                insert(place(at), &of[from.min(to)..from.max(to)]);
            }
            Change::Nest(at, text, times) => insert(place(at), text.repeat(*times).as_bytes()),
        }
    }
}

/// Any JSON text, numbers of any length and form among them.
fn any_json() -> impl Strategy<Value = Box<RawValue>> {
    let raw = |text: String| RawValue::from_string(text).unwrap();
    let number = "-?(0|[1-9][0-9]{0,30})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?";
    let leaf = prop_oneof![
        2 => select(&["null", "true", "false", "\"\"", "{}", "[]", "\"{k}\"", "\"\\ud83d\\ude00\"", "{\"reject\":true}"][..])
            .prop_map(str::to_owned),
        2 => number,
        2 => any::<String>().prop_map(|text| Json::from(text).to_string()),
    ];
    leaf.prop_map(raw).prop_recursive(4, 40, 5, move |inner| {
        let key = prop_oneof![
            select(&["k", "a", "b", "c", "a.b", "x"][..]).prop_map(str::to_owned),
            any::<String>()
        ];
        let object = prop::collection::btree_map(key, inner.clone(), 0..5);
        prop_oneof![
            vec(inner, 0..5).prop_map(|items| to_raw_value(&items).unwrap()),
            object.prop_map(|members| to_raw_value(&members).unwrap()),
        ]
    })
}

/// JSON that is refused wherever it is read.
fn bad_json() -> impl Strategy<Value = Box<RawValue>> {
    let texts = [
        r#""\ud800""#.to_owned(),
        r#"["\ude00\ud83d"]"#.to_owned(),
        r#"{"a":1,"a":2}"#.to_owned(),
        r#"{"a":[{"b":1,"\u0062":2}]}"#.to_owned(),
        "[".repeat(129) + &"]".repeat(129),
    ];
    select(texts.to_vec()).prop_map(|text| RawValue::from_string(text).unwrap())
}

/// A row that has some of the names, one that is a path among them.
fn row() -> impl Strategy<Value = Vec<(String, Box<RawValue>)>> {
    let keys = select(&["k", "a", "b", "c", "x"][..]).prop_map(str::to_owned);
    let path = any_json()
        .prop_map(|b| vec![("a".to_owned(), to_raw_value(&BTreeMap::from([("b", b)])).unwrap())]);
    let key = any_json().prop_map(|value| vec![("a.b".to_owned(), value)]);
    let members = prop::collection::btree_map(keys, any_json(), 0..4).prop_map(Vec::from_iter);
    (prop_oneof![members, path], prop_oneof![Just(vec![]), key], any::<bool>()).prop_map(
        |(one, other, turn)| {
            let pair = if turn { [other, one] } else { [one, other] };
            pair.concat()
        },
    )
}

/// Every place in a request where a value is: the texts before and behind it.
fn holes(body: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in body.char_indices() {
        let value =
            serde_json::Deserializer::from_str(&body[at..]).into_iter::<Box<RawValue>>().next();
        if let Some(Ok(value)) = value
            && body[at..].starts_with(value.get())
        {
            let (before, behind) = (&body[..at], &body[at + value.get().len()..]);
            let whole = format!("{before}null{behind}");
            if serde_json::from_str::<Box<RawValue>>(&whole).is_ok() {
                found.push((before.to_owned(), behind.to_owned()));
            }
        }
    }
    found
}

#[test]
fn the_samples_are_accepted_and_have_their_holes() {
    for good in GOOD {
        assert!(judge(good.as_bytes()).unwrap(), "{good}");
        assert!(holes(good).len() > 8, "{good}");
    }
    for at in 0..GOOD[1].len() {
        assert!(!judge(&GOOD[1].as_bytes()[..at]).unwrap(), "cut at {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn arbitrary_bytes_are_refused(bytes in vec(any::<u8>(), 0..100), tokens in vec(select(&TOKENS[..]), 0..40)) {
        prop_assert!(!judge(&bytes)?);
        prop_assert!(!judge(tokens.concat().as_bytes())?);
    }

    #[test]
    fn a_changed_request_is_read_as_serde_json_reads_it_or_refused(
        good in select(&GOOD[..]),
        changes in vec(change(), 1..4),
    ) {
        let mut body = good.as_bytes().to_vec();
        changes.iter().for_each(|change| change.make(&mut body));
        judge(&body)?;
    }

    #[test]
    fn any_value_in_any_place_is_read_as_serde_json_reads_it_or_refused(
        good in select(&GOOD[..]),
        at in any::<Index>(),
        value in prop_oneof![9 => any_json(), 1 => bad_json()],
    ) {
        let holes = holes(good);
        let (before, behind) = at.get(&holes);
        judge(format!("{before}{value}{behind}").as_bytes())?;
    }

    #[test]
    fn rows_of_any_values_arrive_as_serde_json_reads_them(
        rows in vec(row(), 1..6),
        pretty in any::<bool>(),
        body in select(&["null", r#""{k}{a.b}{x.a.b}{c*}""#][..]),
    ) {
        let (comma, colon) = if pretty { (" ,\n\t", " :\r ") } else { (",", ":") };
        let member = |(key, value): &(String, Box<RawValue>)| format!("\"{key}\"{colon}{value}");
        let row = |row: &Vec<_>| format!("{{{}}}", row.iter().map(member).collect::<Vec<_>>().join(comma));
        let data = format!("[{}]", rows.iter().map(row).collect::<Vec<_>>().join(comma));
        let endpoint = format!(r#"{{"method":"POST","url":"http://a.com/","body":{body}}}"#);
        let body = format!(r#"{{"endpoint":{endpoint},"data":{data}}}"#);
        prop_assert!(judge(body.as_bytes())?);
    }
}
