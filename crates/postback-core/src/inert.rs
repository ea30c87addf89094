//! Texts of clients and partners made harmless to who reads them in a terminal: in logs, answers and what programs print.

/// Whether a terminal would do something else with this character than show it: a control character, an end of a line,
/// one that reverses or hides text (Unicode's bidirectional controls).
#[must_use]
pub fn moves(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The same JSON, in which such characters are escaped: `serde_json` leaves those from U+007F up as they are.
#[must_use]
pub fn json(text: &str) -> String {
    let mut inert = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            // They are all in strings, and need no surrogates.
            _ if c >= '\u{7f}' && moves(c) => inert += &format!("\\u{:04x}", u32::from(c)),
            _ => inert.push(c),
        }
    }
    inert
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_stays_the_same_and_has_nothing_that_moves_in_it() {
        let text = "a\u{1b}[2J\r\n\u{7f}\u{9b}1m\u{2028}\u{202e}é😀";
        let json = json(&serde_json::to_string_pretty(&[text]).unwrap());
        assert!(!json.contains(|c| moves(c) && c != '\n'), "{json:?}");
        assert!(json.contains(r"\u007f\u009b1m\u2028\u202eé😀"), "{json}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&json).unwrap(), [text]);
    }
}
