//! Finding one's way in a JSON text without copying it: numbers keep their characters, and strings borrow from the
//! body. The text is known to be JSON ([`Json`]), so that a [`Cursor`] needs to check next to nothing.

use std::{borrow::Cow, collections::HashSet};

use thiserror::Error;

use super::{json::Json, strict::plain_end};
use crate::value::Value;

/// Up to so many keys are compared in pairs, which is quicker than hashing them.
const FEW: usize = 24;

/// Why a value is not read.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum Unread {
    /// An object in it has this key twice.
    #[error("duplicate key `{0}`")]
    Duplicate(String),
    /// No further value may be made.
    #[error(
        "the templates use more of this request's rows than 2000000 values, of which a list counts for 5 and an object \
         for 8: send it in parts"
    )]
    TooManyValues,
}

/// A place in a JSON text. Every step relies on the text being JSON.
#[derive(Clone)]
pub(super) struct Cursor<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Cursor<'b> {
    pub(super) fn at_start(json: Json<'b>) -> Cursor<'b> {
        Cursor { text: json.text(), at: 0 }
    }

    /// The key of an object's next member, with the cursor at its value, which must be read or skipped before the
    /// next call; `None` behind the object's end. To begin with, the cursor is at the object.
    pub(super) fn member(&mut self) -> Option<Cow<'b, str>> {
        self.step(b'}').then(|| {
            let key = self.string();
            self.peek();
            self.at += 1; // the colon
            key
        })
    }

    /// The same where the key is likely to be this one, written without escapes. Whether it is; if not, nothing has been
    /// read.
    pub(super) fn member_named(&mut self, key: &str) -> bool {
        let before = self.at;
        let written = |text: &str| {
            text.strip_prefix('"')?.strip_prefix(key)?.strip_prefix('"').map(|_| key.len() + 2)
        };
        if self.step(b'}')
            && let Some(length) = written(&self.text[self.at..])
        {
            self.at += length;
            self.peek();
            self.at += 1; // the colon
            return true;
        }
        self.at = before;
        false
    }

    /// The same for a list: whether the cursor is at a further item.
    pub(super) fn item(&mut self) -> bool {
        self.step(b']')
    }

    /// Skips a value and returns it.
    pub(super) fn skip(&mut self) -> Json<'b> {
        let first = self.peek();
        let start = self.at;
        match first {
            b'"' => drop(self.skip_string()),
            b'[' | b'{' => self.skip_nested(),
            _ => self.skip_word(),
        }
        Json(&self.text[start..self.at])
    }

    /// Reads a value. `left` is how many values may still be made; a list or an object counts for the room that it takes
    /// for its first members too.
    pub(super) fn value(&mut self, left: &mut usize) -> Result<Value<'b>, Unread> {
        let first = self.peek();
        let room = match first {
            b'[' => 5,
            b'{' => 8,
            _ => 1,
        };
        *left = left.checked_sub(room).ok_or(Unread::TooManyValues)?;
        match first {
            b'"' => Ok(Value::Text(self.string())),
            b'[' => {
                let mut items = Vec::new();
                while self.item() {
                    items.push(self.value(left)?);
                }
                Ok(Value::List(items))
            }
            b'{' => {
                let mut members = Vec::new();
                while let Some(key) = self.member() {
                    members.push((key, self.value(left)?));
                }
                match duplicate(members.iter().map(|(key, _)| key.as_ref())) {
                    None => Ok(Value::Object(members)),
                    Some(key) => Err(Unread::Duplicate(key.to_owned())),
                }
            }
            b'n' => {
                self.skip_word();
                Ok(Value::Null)
            }
            _ => Ok(Value::Literal(Cow::Borrowed(self.skip().text()))),
        }
    }

    /// What was read since `start`, which was at a value, as this is behind it.
    pub(super) fn since(&self, start: &Cursor<'b>) -> Json<'b> {
        Json(&self.text[start.at..self.at])
    }

    /// Where in memory it is.
    pub(super) fn here(&self) -> *const u8 {
        self.text[self.at..].as_ptr()
    }

    /// Whether the next value is an object.
    pub(super) fn at_object(&mut self) -> bool {
        self.peek() == b'{'
    }

    fn byte(&self) -> u8 {
        self.text.as_bytes().get(self.at).copied().unwrap_or_default()
    }

    /// The next byte that is not blank; 0 at the end.
    fn peek(&mut self) -> u8 {
        while self.byte().is_ascii_whitespace() {
            self.at += 1;
        }
        self.byte()
    }

    /// Goes past an opening bracket or a comma, or past `end`, and tells whether something comes before `end`.
    fn step(&mut self, end: u8) -> bool {
        if self.peek() != end {
            self.at += 1;
        }
        let more = self.peek() != end;
        self.at += usize::from(!more);
        more
    }

    /// Reads a string.
    pub(super) fn string(&mut self) -> Cow<'b, str> {
        self.peek();
        let start = self.at;
        if self.skip_string() {
            // It has been judged: this cannot fail.
            let unescaped = serde_json::from_str(&self.text[start..self.at]);
            return Cow::Owned(unescaped.unwrap_or_default());
        }
        Cow::Borrowed(&self.text[start + 1..self.at - 1])
    }

    /// Goes behind a string and tells whether it has escapes.
    fn skip_string(&mut self) -> bool {
        let mut escapes = false;
        self.at += 1;
        loop {
            self.at = plain_end(self.text.as_bytes(), self.at);
            if self.byte() != b'\\' {
                break;
            }
            escapes = true;
            self.at += 2;
        }
        self.at += 1;
        escapes
    }

    fn skip_nested(&mut self) {
        let mut depth = 0;
        loop {
            match self.byte() {
                b'"' => {
                    self.skip_string();
                    continue;
                }
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }

    fn skip_word(&mut self) {
        let ends = |b: &u8| matches!(b, b',' | b']' | b'}') || b.is_ascii_whitespace();
        let rest = &self.text.as_bytes()[self.at..];
        self.at += rest.iter().position(ends).unwrap_or(rest.len());
    }
}

/// A key that an object has twice.
pub(super) fn duplicate<'k>(
    keys: impl ExactSizeIterator<Item = &'k str> + Clone,
) -> Option<&'k str> {
    if keys.len() <= FEW {
        let mut rest = keys.clone();
        while let Some(key) = rest.next() {
            if rest.clone().any(|other| other == key) {
                return Some(key);
            }
        }
        return None;
    }
    let mut seen = HashSet::with_capacity(keys.len());
    keys.into_iter().find(|key| !seen.insert(*key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<String, String> {
        let value = Json::check(text.as_bytes())?.cursor().value(&mut 1000);
        Ok(show(&value.map_err(|unread| unread.to_string())?))
    }

    /// Compact JSON.
    fn show(value: &Value<'_>) -> String {
        match value {
            Value::Null => "null".into(),
            Value::Text(text) => serde_json::Value::from(text.as_ref()).to_string(),
            Value::Literal(text) => text.to_string(),
            Value::List(items) => {
                format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(","))
            }
            Value::Object(members) => {
                let key = |key: &str| serde_json::Value::from(key).to_string();
                let member =
                    |(name, value): &(Cow<'_, str>, _)| format!("{}:{}", key(name), show(value));
                format!("{{{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
            }
        }
    }

    #[test]
    fn values_keep_their_text() {
        let check =
            |text: &str, expect: &str| assert_eq!(read(text).as_deref(), Ok(expect), "{text}");
        for same in ["1.10", "12345678901234567890123", "1e400", "-0.0E+7", "true", "false", "null"]
        {
            check(same, same);
            check(&format!(" \t\r\n{same}\n"), same);
            check(&format!("[{same} , {same}]"), &format!("[{same},{same}]"));
        }
        check(r#""""#, r#""""#);
        check(r#""a\/b\"\\""#, r#""a/b\"\\""#);
        check(r#""\ud83d\ude00 é""#, r#""😀 é""#);
        check("[]", "[]");
        let deepest = "[".repeat(128) + &"]".repeat(128);
        check(&deepest, &deepest);
        check("[ [ ] , { } ]", "[[],{}]");
        check(
            r#"{ "a" : [ "]}" , 2 ] , "b\u0062" : { "c" : null } }"#,
            r#"{"a":["]}",2],"bb":{"c":null}}"#,
        );
    }

    fn any_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            any::<String>().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| {
            let object = prop::collection::btree_map(any::<String>(), inner.clone(), 0..6);
            prop_oneof![
                prop::collection::vec(inner, 0..6).prop_map(serde_json::Value::from),
                object.prop_map(|members| members.into_iter().collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_serde_json_reads_it(json in any_json()) {
            for text in [json.to_string(), format!("{json:#}\n")] {
                let shown = read(&text).unwrap();
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), json.clone());
            }
        }
    }

    #[test]
    fn duplicate_keys_are_refused_at_every_level_read() {
        for text in
            [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":1}"#, r#"[{"b":{"a":1,"c":2,"a":null}}]"#]
        {
            assert_eq!(read(text), Err("duplicate key `a`".into()), "{text}");
        }
        let many: Vec<_> = (0..100).map(|n| format!("k{}", n % 99)).collect();
        assert_eq!(duplicate(many.iter().map(String::as_str)), Some("k0"));
        assert_eq!(duplicate(many[1..].iter().map(String::as_str)), None);
    }

    #[test]
    fn the_number_of_values_is_bounded() {
        let json = Json::check(b"[1,[2],{\"a\":3}]").unwrap();
        assert!(json.cursor().value(&mut 21).is_ok());
        assert_eq!(json.cursor().value(&mut 20), Err(Unread::TooManyValues));
    }
}
