//! What pages do not show: credentials, and what `--redact` names.

use std::{fmt, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// What stands in the place of a value that is hidden.
pub(super) const HIDDEN: &str = "***";
/// Headers that are always hidden.
const SECRET: [&str; 3] = ["authorization", "proxy-authorization", "cookie"];
/// Within so many lists and objects it is looked; requests nest no deeper.
const DEPTH: usize = 128;

/// The names whose values are hidden: of query parameters, headers, and fields of bodies; in any case.
#[derive(Debug, Clone, Default)]
pub(crate) struct Redact {
    names: Arc<[String]>,
}

impl Redact {
    pub(crate) fn new(names: &[String]) -> Redact {
        let names = names.iter().map(|name| name.trim().to_lowercase());
        Redact { names: names.filter(|name| !name.is_empty()).collect() }
    }

    fn hides(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        self.names.contains(&name)
    }

    /// A URL with the hidden values of its query replaced.
    pub(crate) fn url(&self, url: &str) -> String {
        match url.split_once('?') {
            Some((start, query)) if !self.names.is_empty() => {
                format!("{start}?{}", self.pairs(query))
            }
            _ => url.to_owned(),
        }
    }

    /// A header's value.
    pub(crate) fn header(&self, name: &str, value: &str) -> String {
        let is_secret = SECRET.iter().any(|secret| name.eq_ignore_ascii_case(secret));
        if is_secret || self.hides(name) { HIDDEN.to_owned() } else { value.to_owned() }
    }

    /// A body: JSON, or pairs as forms have them. Of one that was cut off JSON cannot be read: as soon as it holds a
    /// hidden name it is hidden whole.
    pub(crate) fn body(&self, text: &str) -> String {
        if self.names.is_empty() {
            return text.to_owned();
        }
        let json = text.trim_start_matches('\u{feff}').trim();
        if !json.starts_with(['{', '[']) {
            return self.pairs(text);
        }
        let mut shown = String::new();
        match self.json(json, DEPTH, &mut shown) {
            Some(true) => shown,
            Some(false) => text.to_owned(),
            None => {
                let lower = text.to_lowercase();
                let holds = self.names.iter().any(|name| lower.contains(name.as_str()));
                if holds { HIDDEN.to_owned() } else { text.to_owned() }
            }
        }
    }

    /// Appends a JSON value with hidden fields replaced and all else as it was written: numbers keep their digits, fields
    /// their order. Whether there were any; `None`: it cannot be read.
    fn json(&self, text: &str, depth: usize, into: &mut String) -> Option<bool> {
        let depth = depth.checked_sub(1)?;
        let mut found = false;
        let between = |into: &mut String, n: usize| {
            if n > 0 {
                into.push(',')
            }
        };
        match text.as_bytes().first() {
            Some(b'{') => {
                let Fields(fields) = serde_json::from_str(text).ok()?;
                into.push('{');
                for (n, (name, value)) in fields.iter().enumerate() {
                    between(into, n);
                    *into += &serde_json::to_string(name).ok()?;
                    into.push(':');
                    if self.hides(name) {
                        found = true;
                        *into += &format!("\"{HIDDEN}\"");
                    } else {
                        found |= self.json(value.get(), depth, into)?;
                    }
                }
                into.push('}');
            }
            Some(b'[') => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                into.push('[');
                for (n, item) in items.iter().enumerate() {
                    between(into, n);
                    found |= self.json(item.get(), depth, into)?;
                }
                into.push(']');
            }
            _ => into.push_str(text),
        }
        Some(found)
    }

    /// `a=b&c=d` with hidden values replaced; a name may be percent-encoded.
    fn pairs(&self, text: &str) -> String {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, _)) if self.hides(&decoded(name)) => format!("{name}={HIDDEN}"),
            _ => pair.to_owned(),
        };
        text.split('&').map(pair).collect::<Vec<_>>().join("&")
    }
}

/// An object's fields in their order, the values not yet read.
struct Fields<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Fields<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(fields)
            }
        }
        deserializer.deserialize_map(InOrder).map(Fields)
    }
}

/// Undoes percent-encoding.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let [first, after @ ..] = rest {
        let hex = after.get(..2).filter(|_| *first == b'%');
        let hex = hex.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(hex.unwrap_or(*first));
        rest = if hex.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact() -> Redact {
        Redact::new(&["Token".into(), " sig ".into(), String::new()])
    }

    #[test]
    fn named_query_values_are_hidden() {
        let check = |url: &str, expect: &str| assert_eq!(redact().url(url), expect);
        check("http://a.com/p?token=1&x=2&TOKEN=3", "http://a.com/p?token=***&x=2&TOKEN=***");
        check("http://a.com/p?tok%65n=1&tokens=2&sig", "http://a.com/p?tok%65n=***&tokens=2&sig");
        check("http://a.com/token=1", "http://a.com/token=1");
        check("http://a.com/?x=%&%zz=1&token=", "http://a.com/?x=%&%zz=1&token=***");
        assert_eq!(Redact::default().url("http://a.com/?token=1"), "http://a.com/?token=1");
    }

    #[test]
    fn credentials_are_hidden_without_being_named() {
        let check = |name: &str, expect: &str| assert_eq!(redact().header(name, "v"), expect);
        check("Authorization", "***");
        check("cookie", "***");
        check("SIG", "***");
        check("X-Click", "v");
    }

    #[test]
    fn named_fields_of_bodies_are_hidden() {
        let check = |text: &str, expect: &str| assert_eq!(redact().body(text), expect);
        check(r#"{"a":[{"token":{"x":1}}],"b":"token"}"#, r#"{"a":[{"token":"***"}],"b":"token"}"#);
        check(r#"{ "a": 1.10 }"#, r#"{ "a": 1.10 }"#);
        // What stays is as it was written.
        check(
            "\u{feff} {\"z\": 12345678901234567890123, \"token\": 1, \"a\": [1.10, 1e400]}\n",
            r#"{"z":12345678901234567890123,"token":"***","a":[1.10,1e400]}"#,
        );
        check(r#"{"to\u006ben":1,"token":2}"#, r#"{"token":"***","token":"***"}"#);
        let deep = |depth| format!("{}{{\"token\":1}}{}", "[".repeat(depth), "]".repeat(depth));
        check(&deep(100), &deep(100).replace(":1", ":\"***\""));
        check(&deep(100_000), "***");
        check(r#"{"token":"abc","cut of"#, "***");
        check(r#"{"a":"abc","cut of"#, r#"{"a":"abc","cut of"#);
        check("sig=1&b=2", "sig=***&b=2");
        check("plain token", "plain token");
    }
}
