//! A row's values as they travel from the request to the URL: JSON's types, with every text kept.
//!
//! Parsing JSON is not here (`request`), nor is turning a value into URL text (`template`).

use std::{borrow::Cow, cell::Cell, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};

/// How deep lists and objects may be nested in what is read back: what a request may have, and no more than a thread's
/// stack has room for, whoever wrote it.
const MAX_DEPTH: u32 = 128;
/// The most values in a row that is read back, members of lists and objects counted: a request may have no more.
const MAX_VALUES: usize = 2_000_001;

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
    /// How many more values the row that is being counted may have.
    static LEFT: Cell<usize> = const { Cell::new(0) };
}

/// One JSON value of a row. Numbers and booleans keep the text in which they arrived, so that `1.10`
/// and `12345678901234567890123` reach the partner digit for digit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Value<'a> {
    /// Absent or JSON `null`: the name has no value.
    Null,
    /// A JSON string, unescaped.
    #[serde(borrow)]
    Text(Cow<'a, str>),
    /// A number, `true`, `false`: the characters of the JSON text; for a row's own entry the whole row.
    Literal(Cow<'a, str>),
    /// A JSON array.
    #[serde(deserialize_with = "nested")]
    List(Vec<Value<'a>>),
    /// A JSON object, in the order of its text.
    #[serde(deserialize_with = "nested")]
    Object(Vec<(Cow<'a, str>, Value<'a>)>),
}

/// The values of one row, in the order of [`crate::endpoint::Endpoint::names`]; where the body is the row itself
/// one more value at the end, a [`Value::Literal`] that is the row's JSON text.
pub type Row<'a> = Vec<Value<'a>>;

/// Reads a stored row; `None` where it is none, or has more values or levels than a request may have.
pub(crate) fn read_row(stored: &[u8]) -> Option<Row<'_>> {
    // A stored null is one byte, of which zstd makes next to nothing, and in memory 32: a longer row is counted first.
    if stored.len() > MAX_VALUES {
        LEFT.set(MAX_VALUES);
        postcard::from_bytes::<Counted<CountedValue<'_>>>(stored).ok()?;
    }
    postcard::from_bytes(stored).ok()
}

/// A [`Value`] that is only counted.
#[derive(Deserialize)]
#[expect(dead_code, reason = "nothing of it is kept")]
enum CountedValue<'a> {
    Null,
    Text(&'a str),
    Literal(&'a str),
    #[serde(borrow, deserialize_with = "nested")]
    List(Counted<CountedValue<'a>>),
    #[serde(borrow, deserialize_with = "nested")]
    Object(Counted<(&'a str, CountedValue<'a>)>),
}

/// A list whose items are read and counted, and none kept.
struct Counted<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Counted<T> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Counted<T>, D::Error> {
        reader.deserialize_seq(Counted(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Counted<T> {
    type Value = Counted<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Counted<T>, A::Error> {
        while items.next_element::<T>()?.is_some() {
            let left = LEFT.get().checked_sub(1);
            LEFT.set(left.ok_or_else(|| A::Error::custom("too many values"))?);
        }
        Ok(self)
    }
}

/// Reads what a list or an object holds, unless it is nested too deep.
fn nested<'de, D: Deserializer<'de>, T: Deserialize<'de>>(reader: D) -> Result<T, D::Error> {
    let depth = DEPTH.get();
    if depth >= MAX_DEPTH {
        return Err(D::Error::custom("nested too deep"));
    }
    DEPTH.set(depth + 1);
    let read = T::deserialize(reader);
    DEPTH.set(depth);
    read
}

impl Value<'_> {
    /// Whether there is something to show: not null, and not a list or object without a member that is not null
    /// (RFC 6570, section 2.3).
    pub fn is_defined(&self) -> bool {
        match self {
            Value::Null => false,
            Value::Text(_) | Value::Literal(_) => true,
            Value::List(items) => items.iter().any(|item| *item != Value::Null),
            Value::Object(members) => members.iter().any(|(_, value)| *value != Value::Null),
        }
    }

    /// Appends the value's compact JSON text.
    pub fn push_json(&self, out: &mut String) {
        match self {
            Value::Null => out.push_str("null"),
            Value::Text(text) => push_json_string(text, out),
            Value::Literal(text) => out.push_str(text),
            Value::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    item.push_json(out);
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (at, (key, value)) in members.iter().enumerate() {
                    out.push_str(if at > 0 { "," } else { "" });
                    push_json_string(key, out);
                    out.push(':');
                    value.push_json(out);
                }
                out.push('}');
            }
        }
    }
}

fn push_json_string(text: &str, out: &mut String) {
    out.push('"');
    push_json_escaped(text, out);
    out.push('"');
}

/// Appends a text as it stands between the quotes of a JSON string (RFC 8259, section 7).
pub(crate) fn push_json_escaped(text: &str, out: &mut String) {
    let mut done = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(&text[done..at]);
        done = at + 1;
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x10.. => "\\u001",
            _ => "\\u000",
        };
        out.push_str(short);
        if short.len() > 2 {
            out.extend(char::from_digit(u32::from(byte & 0xF), 16));
        }
    }
    out.push_str(&text[done..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value<'_> {
        Value::Text(text.into())
    }

    #[test]
    fn a_value_has_its_compact_json_text() {
        let check = |value: Value<'_>, expect: &str| {
            let mut out = String::new();
            value.push_json(&mut out);
            assert_eq!(out, expect);
        };
        check(Value::Null, "null");
        check(Value::Literal("1.10".into()), "1.10");
        check(
            text("a\"b\\c/é\u{1}\u{1f}\n\r\t\u{7f}"),
            "\"a\\\"b\\\\c/é\\u0001\\u001f\\n\\r\\t\u{7f}\"",
        );
        check(Value::List(vec![]), "[]");
        check(Value::Object(vec![]), "{}");
        let list =
            Value::List(vec![Value::Literal("true".into()), Value::Null, Value::List(vec![])]);
        check(
            Value::Object(vec![("a\"".into(), list), ("b".into(), text(""))]),
            r#"{"a\"":[true,null,[]],"b":""}"#,
        );
    }

    #[test]
    fn every_text_comes_back_from_its_json() {
        let all: String = (0..0x300).filter_map(char::from_u32).chain(['\u{2028}', '😀']).collect();
        let mut out = String::new();
        text(&all).push_json(&mut out);
        assert_eq!(serde_json::from_str::<String>(&out).unwrap(), all);
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_without_a_crash() {
        // A row of one (1) list (3) of one (1), and so on; at the end null (0).
        let lists = |n: usize| [vec![1], [3, 1].repeat(n), vec![0]].concat();
        assert!(read_row(&lists(128)).is_some());
        let objects = |n: usize| [vec![1], [4, 1, 0].repeat(n), vec![0]].concat();
        for deep in [lists(129), lists(100_000), objects(100_000), objects(1_000_000)] {
            assert!(read_row(&deep).is_none());
            assert!(read_row(&lists(128)).is_some(), "the depth stuck");
        }
    }

    #[test]
    fn a_stored_row_has_no_more_values_than_a_request() {
        let nulls = |n: usize| [postcard::to_allocvec(&n).unwrap(), vec![0; n]].concat();
        assert_eq!(read_row(&nulls(MAX_VALUES)).unwrap().len(), MAX_VALUES);
        assert!(read_row(&nulls(MAX_VALUES + 1)).is_none());
        // One value: a list and its nulls.
        let list = |n: usize| [vec![1, 3], nulls(n)].concat();
        assert!(read_row(&list(MAX_VALUES - 1)).is_some());
        assert!(read_row(&list(MAX_VALUES)).is_none());
        let long = vec![text("x"), Value::Literal("y".repeat(3_000_000).into()), Value::Null];
        let stored = postcard::to_allocvec(&long).unwrap();
        assert_eq!(read_row(&stored), Some(long));
    }

    #[test]
    fn a_list_or_object_of_nulls_is_not_defined() {
        assert!(!Value::Null.is_defined());
        assert!(!Value::List(vec![Value::Null]).is_defined());
        assert!(!Value::Object(vec![("a".into(), Value::Null)]).is_defined());
        assert!(text("").is_defined());
        assert!(Value::List(vec![Value::Null, text("")]).is_defined());
    }
}
