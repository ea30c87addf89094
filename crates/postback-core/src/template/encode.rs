//! Encoding a text for the place where it is put. ASCII runs that stay as they are are copied whole.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::value::push_json_escaped;

/// All but RFC 3986's unreserved characters.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// All but the characters of a variable's name that cannot end a path segment or a parameter.
const KEY: &AsciiSet = &UNRESERVED
    .remove(b'!')
    .remove(b'$')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'@')
    .remove(b'[')
    .remove(b']');
/// All but unreserved and reserved characters. `#` is encoded although RFC 6570 lets it pass: no value may start a
/// fragment, as fragments are not sent.
const RESERVED: &AsciiSet = &KEY
    .remove(b'&')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b'/')
    .remove(b':')
    .remove(b';')
    .remove(b'=')
    .remove(b'?');
/// What the URL standard's form serializer encodes; a blank becomes `+`.
const FORM: &AsciiSet = &NON_ALPHANUMERIC.remove(b'*').remove(b'-').remove(b'.').remove(b'_');

/// How a value is written where it is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// Percent-encoded but for unreserved characters.
    Unreserved,
    /// Percent-encoded but for unreserved and reserved characters and triplets like `%2F`; `#` becomes `%23`.
    Reserved,
    /// As it is.
    Raw,
    /// As it stands between the quotes of a JSON string.
    Json,
    /// As `application/x-www-form-urlencoded` has it.
    Form,
}

impl Encoding {
    pub(super) fn push(self, text: &str, out: &mut String) {
        match self {
            Encoding::Unreserved => percent(text, UNRESERVED, out),
            Encoding::Reserved => with_triplets(text, RESERVED, out),
            Encoding::Raw => out.push_str(text),
            Encoding::Json => push_json_escaped(text, out),
            Encoding::Form => {
                for (at, word) in text.split(' ').enumerate() {
                    out.push_str(if at > 0 { "+" } else { "" });
                    percent(word, FORM, out);
                }
            }
        }
    }

    /// How many bytes a byte may become.
    pub(super) fn growth(self) -> usize {
        match self {
            Encoding::Raw => 1,
            Encoding::Unreserved | Encoding::Reserved | Encoding::Form => 3,
            Encoding::Json => 6,
        }
    }

    /// The first characters of a value. Where triplets pass, one that stands for a character counts as one, and none is
    /// split (RFC 6570, section 3.2.1).
    pub(super) fn prefix(self, text: &str, length: u16) -> &str {
        let length = usize::from(length);
        if text.len() <= length {
            return text;
        }
        if self == Encoding::Reserved && text.contains('%') {
            return prefix_of_triplets(text, length);
        }
        text.char_indices().nth(length).map_or(text, |(end, _)| &text[..end])
    }
}

/// Appends the literal text of a URL template.
pub(super) fn push_literal(text: &str, out: &mut String) {
    with_triplets(text, RESERVED, out);
}

/// A variable's name as it is shown by `{?x}`. RFC 6570 writes names like literals; ours may hold any character, so
/// that those which would end the path segment, the parameter or its name are encoded.
pub(super) fn key(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    with_triplets(name, KEY, &mut out);
    out
}

fn percent(text: &str, encoded: &'static AsciiSet, out: &mut String) {
    utf8_percent_encode(text, encoded).for_each(|run| out.push_str(run));
}

fn with_triplets(mut text: &str, encoded: &'static AsciiSet, out: &mut String) {
    while let Some(at) = text.find('%') {
        percent(&text[..at], encoded, out);
        let end = if triplet(&text[at..]).is_some() { at + 3 } else { at + 1 };
        out.push_str(if end == at + 3 { &text[at..end] } else { "%25" });
        text = &text[end..];
    }
    percent(text, encoded, out);
}

/// The byte that a triplet at the start of the text stands for.
fn triplet(text: &str) -> Option<u8> {
    let &[b'%', high, low, ..] = text.as_bytes() else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

fn prefix_of_triplets(text: &str, length: usize) -> &str {
    let (mut at, mut count) = (0, 0);
    while let Some(next) = text[at..].chars().next() {
        let byte = triplet(&text[at..]);
        // A triplet for one of UTF-8's continuation bytes goes on with a character.
        count += usize::from(!matches!(byte, Some(0x80..=0xBF)));
        if count > length {
            return &text[..at];
        }
        at += if byte.is_some() { 3 } else { next.len_utf8() };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(encoding: Encoding, text: &str, expect: &str) {
        let mut out = String::new();
        encoding.push(text, &mut out);
        assert_eq!(out, expect, "{encoding:?} {text:?}");
    }

    #[test]
    fn a_plain_value_keeps_only_unreserved_characters() {
        let ascii: String = (0..128u8).map(char::from).collect();
        let mut out = String::new();
        Encoding::Unreserved.push(&ascii, &mut out);
        let kept: String = percent_encoding::percent_decode_str(&out).decode_utf8().unwrap().into();
        assert_eq!(kept, ascii);
        let plain = |c: &char| c.is_ascii_alphanumeric() || "-._~".contains(*c);
        assert_eq!(out.len(), ascii.chars().map(|c| if plain(&c) { 1 } else { 3 }).sum::<usize>());
        check(Encoding::Unreserved, "é😀%41 +", "%C3%A9%F0%9F%98%80%2541%20%2B");
    }

    #[test]
    fn a_reserved_value_keeps_reserved_characters_and_triplets_but_no_fragment() {
        check(Encoding::Reserved, "azAZ09-._~:/?[]@!$&'()*+,;=", "azAZ09-._~:/?[]@!$&'()*+,;=");
        check(
            Encoding::Reserved,
            "%2f%C3%a9 100% %4 %4g %é",
            "%2f%C3%a9%20100%25%20%254%20%254g%20%25%C3%A9",
        );
        check(
            Encoding::Reserved,
            "a#b\\c\"<>^`{|}\n\u{7f}",
            "a%23b%5Cc%22%3C%3E%5E%60%7B%7C%7D%0A%7F",
        );
    }

    #[test]
    fn a_form_value_is_written_as_the_form_serializer_does() {
        check(Encoding::Form, "a b+c&d=e~*-._é", "a+b%2Bc%26d%3De%7E*-._%C3%A9");
        check(Encoding::Form, " ", "+");
        check(Encoding::Form, "", "");
    }

    #[test]
    fn a_prefix_counts_characters_and_splits_neither_them_nor_triplets() {
        let check = |encoding: Encoding, text: &str, length: u16, expect: &str| {
            assert_eq!(encoding.prefix(text, length), expect, "{encoding:?} {text:?} {length}");
        };
        check(Encoding::Unreserved, "value", 3, "val");
        check(Encoding::Unreserved, "value", 30, "value");
        check(Encoding::Unreserved, "", 1, "");
        check(Encoding::Unreserved, "éèà", 2, "éè");
        check(Encoding::Unreserved, "%20x", 1, "%");
        check(Encoding::Reserved, "%20xy", 2, "%20x");
        check(Encoding::Reserved, "%C3%A9xy", 1, "%C3%A9");
        check(Encoding::Reserved, "%C3%A9xy", 2, "%C3%A9x");
        check(Encoding::Reserved, "%é%4", 3, "%é%");
        check(Encoding::Reserved, "%80%80%80", 1, "%80%80%80");
    }

    #[test]
    fn a_name_shows_no_delimiter() {
        assert_eq!(key("user[id]"), "user[id]");
        assert_eq!(key("a&b=c#d/e?f;g+h i%20%é"), "a%26b%3Dc%23d%2Fe%3Ff%3Bg%2Bh%20i%20%25%C3%A9");
    }
}
