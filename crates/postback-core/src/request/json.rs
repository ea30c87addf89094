//! What a JSON text is: serde_json judges the syntax, once and for the whole text, after what it does not bound or
//! refuse has been looked for here.
//!
//! How the text is walked is `cursor`'s; what the fields mean is not known here (`envelope`, `rows`).

use serde_json::value::RawValue;

use super::cursor::Cursor;

/// How deep JSON may nest, the outermost value counted.
pub(super) const MAX_DEPTH: usize = 128;

/// A text that is one JSON value, without blanks around it, at most 128 levels deep and without lone surrogates.
#[derive(Debug, Clone, Copy)]
pub(super) struct Json<'b>(pub(super) &'b str);

impl<'b> Json<'b> {
    /// Judges a request's body.
    pub(super) fn check(body: &'b [u8]) -> Result<Json<'b>, String> {
        let text = std::str::from_utf8(body)
            .map_err(|error| format!("byte {} is not UTF-8", error.valid_up_to()))?;
        screen(text.as_bytes())?;
        // serde_json skips without recursion; the depth is known by now all the same.
        let raw: &RawValue = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Ok(Json(raw.get()))
    }

    /// The text as it arrived.
    pub(super) fn text(self) -> &'b str {
        self.0
    }

    /// The first byte, which tells the kind of value.
    pub(super) fn first(self) -> u8 {
        self.0.as_bytes().first().copied().unwrap_or_default()
    }

    /// The kind of value, for people.
    pub(super) fn kind(self) -> &'static str {
        match self.first() {
            b'"' => "a string",
            b'{' => "an object",
            b'[' => "a list",
            b'n' => "null",
            b't' | b'f' => "a boolean",
            _ => "a number",
        }
    }

    /// The text without the blanks between its parts.
    pub(super) fn compact(self) -> String {
        let (mut quoted, mut escaped) = (false, false);
        let keep = |c: &char| {
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                _ => return quoted || !c.is_ascii_whitespace(),
            }
            true
        };
        self.0.chars().filter(keep).collect()
    }

    /// Reads from its start.
    pub(super) fn cursor(self) -> Cursor<'b> {
        Cursor::at_start(self)
    }
}

/// Refuses what must be refused before anything recursive or borrowing looks at the text, which need not be JSON yet:
/// too many levels, and escapes of half a surrogate pair, which are no character.
fn screen(text: &[u8]) -> Result<(), String> {
    let (mut depth, mut quoted, mut at) = (0usize, false, 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match byte {
            b'"' => quoted = !quoted,
            b'\\' if quoted => {
                at += after_backslash(&text[at..])
                    .ok_or_else(|| format!("lone surrogate at byte {at}"))?;
            }
            b'[' | b'{' if !quoted => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return Err(format!("JSON nests deeper than {MAX_DEPTH} levels"));
                }
            }
            b']' | b'}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

/// How many bytes after a backslash belong to its escape; `None` for a lone surrogate.
fn after_backslash(rest: &[u8]) -> Option<usize> {
    match utf16_unit(rest) {
        Some(0xD800..=0xDBFF) => {
            let low = utf16_unit(rest.get(5..)?.strip_prefix(b"\\")?);
            matches!(low, Some(0xDC00..=0xDFFF)).then_some(11)
        }
        Some(0xDC00..=0xDFFF) => None,
        _ => Some(1),
    }
}

fn utf16_unit(escape: &[u8]) -> Option<u16> {
    let digits = escape.strip_prefix(b"u")?.get(..4)?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            " ",
            "{",
            "}",
            "[1,]",
            "{\"a\":1,}",
            "{\"a\"}",
            "{a:1}",
            "[1] x",
            "01",
            "1.",
            "+1",
            ".5",
            "NaN",
            "'a'",
            "\"a",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\n\"",
            "\u{feff}1",
            "[1 2]",
            "nul",
            "[}",
            "\"\\ud800\"",
            "\"\\ud800x\"",
            "\"\\udc00\"",
            "\"\\ud800\\ud800\"",
            "\"\\ude00\\ud83d\"",
            "\\",
            "\"\\",
            "{\"\\ud800\":1}",
            "/**/1",
            "1\0",
        ] {
            assert!(Json::check(text.as_bytes()).is_err(), "{text:?}");
        }
        for bytes in [&b"\"\xff\""[..], b"\"\xc0\xaf\"", b"\"\xed\xa0\x80\""] {
            assert_eq!(Json::check(bytes).unwrap_err(), "byte 1 is not UTF-8");
        }
    }

    #[test]
    fn json_nests_128_levels_and_no_more() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        let check = |text: &str| Json::check(text.as_bytes()).map(|json| json.text().len());
        assert_eq!(check(&nested(128)), Ok(256));
        assert_eq!(check(&nested(129)), Err("JSON nests deeper than 128 levels".into()));
        assert!(check(&"{\"a\":".repeat(1_000_000)).is_err());
        assert!(check(&format!("\"{}\"", "[".repeat(1000))).is_ok());
    }

    #[test]
    fn compact_text_loses_blanks_between_parts_only() {
        let json = Json::check(b" { \"a b\\\" c\" : [ 1.10 ,\n\t\"\\\\\" ] } ").unwrap();
        assert_eq!(json.compact(), r#"{"a b\" c":[1.10,"\\"]}"#);
    }
}
