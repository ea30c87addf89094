//! Texts of clients and partners on pages: harmless to who reads them, and safe within links.

use std::fmt::{self, Write as _};

use actix_web::http::StatusCode;
use postback_core::inert;
use serde::Serialize;
use url::form_urlencoded::Serializer;

use crate::problem::Problem;

/// A text from outside. On a page, what would move, hide or reverse something is shown as its number (markup is escaped by
/// the template); in JSON it is what it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Text(pub(crate) String);

impl From<String> for Text {
    fn from(text: String) -> Text {
        Text(text)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\n' | '\t' => f.write_char(c)?,
                _ if inert::moves(c) => write!(f, "{}", c.escape_unicode())?,
                _ => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A path with a query; what is empty is left out.
pub(crate) fn link<'a>(path: &str, fields: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let given = fields.into_iter().filter(|(_, value)| !value.is_empty());
    let query = Serializer::new(String::new()).extend_pairs(given).finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// What a field of a form or query means; nothing where it is empty.
pub(crate) fn field<T>(
    name: &str,
    text: &str,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Problem> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |why: String| {
        let detail = format!("{name} `{text}`: {why}");
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    };
    read(text).map(Some).map_err(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_is_shown_as_its_number() {
        let text = Text("a\u{1b}[2J\u{202e}b\r\n\u{2028}\té".into());
        assert_eq!(text.to_string(), "a\\u{1b}[2J\\u{202e}b\\u{d}\n\\u{2028}\té");
        assert_eq!(serde_json::to_string(&text).unwrap().matches("\\u001b").count(), 1);
    }

    #[test]
    fn a_link_carries_any_value() {
        let fields = [("host", "a.com:80"), ("ref", ""), ("q", "\"&<é #%")];
        assert_eq!(link("/dead", fields), "/dead?host=a.com%3A80&q=%22%26%3C%C3%A9+%23%25");
        assert_eq!(link("/dead", []), "/dead");
    }
}
