//! One pass over a body that is right, as nearly all are: it sees that the text is JSON, and where the request's own
//! members are.
//!
//! It takes no text that [`Json::check`] refuses. What it does not take is for that one to judge, and to say what is
//! wrong: escapes of surrogates are left to it, too.

use super::json::{Json, MAX_DEPTH};

/// A request has three members; of a text with many more nothing shall be kept.
const MAX_MEMBERS: usize = 8;

/// The members of an object, as they are written.
pub(super) type Members<'b> = Vec<(&'b str, Json<'b>)>;

/// The object that a text is, and its members; `None` where another is to judge.
pub(super) fn object(text: &str) -> Option<(Json<'_>, Members<'_>)> {
    let mut walk = Walk { bytes: text.as_bytes(), at: 0 };
    let mut members = Members::new();
    let start = walk.blanks();
    walk.take(b'{')?;
    walk.list(b'}', |walk| {
        let key = walk.blanks();
        walk.string()?;
        let key = &text[key + 1..walk.at - 1];
        walk.colon()?;
        let value = walk.blanks();
        walk.value(1)?;
        members.push((key, Json(&text[value..walk.at])));
        (members.len() <= MAX_MEMBERS && !key.contains('\\')).then_some(())
    })?;
    let end = walk.at;
    (walk.blanks() == text.len()).then(|| (Json(&text[start..end]), members))
}

struct Walk<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl Walk<'_> {
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Goes past this byte, which must be the next.
    fn take(&mut self, byte: u8) -> Option<()> {
        (self.byte()? == byte).then(|| self.at += 1)
    }

    /// Goes past blanks; returns where the next thing is.
    fn blanks(&mut self) -> usize {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.at += 1;
        }
        self.at
    }

    fn colon(&mut self) -> Option<()> {
        self.blanks();
        self.take(b':')
    }

    /// Goes past what a bracket has begun, and past the bracket that ends it.
    fn list(&mut self, end: u8, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.blanks();
        if self.byte()? == end {
            self.at += 1;
            return Some(());
        }
        loop {
            item(self)?;
            self.blanks();
            let byte = self.byte()?;
            self.at += 1;
            match byte {
                b',' => {}
                byte => return (byte == end).then_some(()),
            }
        }
    }

    /// Goes past a value that stands in so many others.
    fn value(&mut self, depth: usize) -> Option<()> {
        self.blanks();
        match self.byte()? {
            b'"' => self.string(),
            b'{' if depth < MAX_DEPTH => {
                self.at += 1;
                self.list(b'}', |walk| {
                    walk.blanks();
                    walk.string()?;
                    walk.colon()?;
                    walk.value(depth + 1)
                })
            }
            b'[' if depth < MAX_DEPTH => {
                self.at += 1;
                self.list(b']', |walk| walk.value(depth + 1))
            }
            b't' => self.word(b"true"),
            b'f' => self.word(b"false"),
            b'n' => self.word(b"null"),
            _ => self.number(),
        }
    }

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.bytes[self.at..].starts_with(word).then(|| self.at += word.len())
    }

    fn string(&mut self) -> Option<()> {
        self.take(b'"')?;
        loop {
            self.at = plain_end(self.bytes, self.at);
            match self.byte()? {
                b'"' => break,
                b'\\' => self.escape()?,
                _ => return None,
            }
        }
        self.at += 1;
        Some(())
    }

    fn escape(&mut self) -> Option<()> {
        match self.bytes.get(self.at + 1)? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.at += 2,
            b'u' => {
                let digits = self.bytes.get(self.at + 2..self.at + 6)?;
                let is_surrogate = matches!(digits, [b'd' | b'D', high, ..] if *high >= b'8');
                if is_surrogate || !digits.iter().all(u8::is_ascii_hexdigit) {
                    return None;
                }
                self.at += 6;
            }
            _ => return None,
        }
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.at += usize::from(self.byte()? == b'-');
        match self.byte()? {
            b'0' => self.at += 1,
            _ => self.digits()?,
        }
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte()?, b'+' | b'-'));
            self.digits()?;
        }
        Some(())
    }

    /// Goes past one digit or more.
    fn digits(&mut self) -> Option<()> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        (self.at > start).then_some(())
    }
}

/// Each byte 1, each byte's highest bit.
const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = ONES << 7;

/// Where, from `at` on, a byte stands that a string does not have as it is: a quote, a backslash, a control character;
/// or the end. Eight bytes at a time.
pub(super) fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(eight) = bytes.get(at..).and_then(<[u8]>::first_chunk) {
        let word = u64::from_le_bytes(*eight);
        // A byte that is 0, or less than a blank, sets its highest bit here. What it borrows spoils those behind it alone.
        let zero = |word: u64| word.wrapping_sub(ONES) & !word;
        let less = word.wrapping_sub(ONES * 0x20) & !word;
        let found = zero(word ^ (ONES * 0x22)) | zero(word ^ (ONES * 0x5C)) | less;
        let found = found & HIGH;
        if found != 0 {
            return at + found.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|byte| *byte >= b' ' && *byte != b'"' && *byte != b'\\') {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_text_of_every_form_is_taken_and_taken_apart() {
        let text = concat!(
            " {\"a\" : [ 1 , -0.50e+7,true,null, {}, [ ] ] ,\n\"b\":{\"c\\u00e9\\\"/\":\"\\/é\"}\t,",
            "\"c\":\"\" } "
        );
        let (whole, members) = object(text).unwrap();
        assert_eq!(whole.text(), text.trim());
        let members: Vec<_> = members.iter().map(|(key, json)| (*key, json.text())).collect();
        let a = "[ 1 , -0.50e+7,true,null, {}, [ ] ]";
        assert_eq!(members, [("a", a), ("b", r#"{"c\u00e9\"/":"\/é"}"#), ("c", "\"\"")]);
        assert!(object("{}").is_some());
    }

    #[test]
    fn a_text_for_another_to_judge_is_not_taken() {
        for text in ["[]", "1", "", "{", "{\"\\u0061\":1}", "{\"a\":\"\\ud83d\\ude00\"}"] {
            assert!(object(text).is_none(), "{text}");
        }
        let many: Vec<_> = (0..=MAX_MEMBERS).map(|n| format!("\"{n}\":0")).collect();
        assert!(object(&format!("{{{}}}", many.join(","))).is_none());
    }

    #[test]
    fn levels_are_bounded() {
        let nested = |n: usize| format!("{{\"a\":{}{}}}", "[".repeat(n), "]".repeat(n));
        assert!(object(&nested(MAX_DEPTH - 1)).is_some());
        assert!(object(&nested(MAX_DEPTH)).is_none());
        assert!(object(&nested(1_000_000)).is_none());
    }

    #[test]
    fn the_end_of_what_is_plain_is_found_in_every_place() {
        for special in [b'"', b'\\', 0, 0x1F] {
            for at in 0..20 {
                let mut bytes = vec![b'\x7f'; 20];
                bytes[at] = special;
                bytes[at + 1..].fill(b' ');
                for from in 0..=at {
                    assert_eq!(plain_end(&bytes, from), at, "{special} at {at} from {from}");
                }
            }
        }
        assert_eq!(plain_end("é\u{80}~! #[]".as_bytes(), 0), "é\u{80}~! #[]".len());
        assert_eq!(plain_end(b"", 0), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        #[test]
        fn what_is_taken_is_what_the_judge_takes(
            pieces in prop::collection::vec(prop::sample::select(&[
                "{", "}", "[", "]", ",", ":", "\"a\"", "\"", "\\", "\\u00e9", "\\ud800", "\\u+123", "\\n", "0", "1", "-",
                ".5", "e", "E+1", "null", "true", "tru", " ", "\n", "\u{1}", "é", "\"a\":1", "{\"b\":[]}", "\"c\":\"x\",",
            ][..]), 0..12),
            whole in any::<bool>(),
        ) {
            let text = pieces.concat();
            let text = if whole { format!("{{\"x\":{text}}}") } else { text };
            if let Some((json, members)) = object(&text) {
                prop_assert_eq!(Json::check(text.as_bytes()).unwrap().text(), json.text());
                let (mut cursor, mut walked) = (json.cursor(), vec![]);
                while let Some(key) = cursor.member() {
                    walked.push((key, cursor.skip().text()));
                }
                let members: Vec<_> = members.iter().map(|(key, json)| ((*key).into(), json.text())).collect();
                prop_assert_eq!(members, walked);
            }
        }
    }
}
