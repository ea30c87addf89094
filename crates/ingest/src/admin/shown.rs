//! How pages show a postback: what is secret hidden, what would move the reader's text made visible, what is long cut.

use postback_core::{
    inert,
    view::{Attempt, Postback},
};

use super::redact::Redact;

/// The postback without what is hidden.
pub(crate) fn redacted(redact: &Redact, mut postback: Postback) -> Postback {
    postback.url = redact.url(&postback.url);
    for attempt in &mut postback.attempts {
        redact_attempt(redact, attempt);
    }
    postback
}

fn redact_attempt(redact: &Redact, attempt: &mut Attempt) {
    for body in [&mut attempt.response_body, &mut attempt.request_body].into_iter().flatten() {
        *body = redact.body(body);
    }
    for (name, value) in &mut attempt.request_headers {
        *value = redact.header(name, value);
    }
}

/// A stranger's text with its control characters and those that turn its direction spelled out; ends of lines and tabs
/// stay. Escaping for HTML is the templates'.
pub(crate) fn visible(text: &str) -> String {
    let mut visible = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => visible.push(c),
            _ if inert::moves(c) => visible.extend(c.escape_unicode()),
            _ => visible.push(c),
        }
    }
    visible
}

/// The same on one line, cut after so many characters.
pub(crate) fn brief(text: &str, most: usize) -> String {
    let mut brief: String = text.chars().take(most).collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    visible(&brief.replace(['\n', '\t'], " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_move_the_readers_text_is_spelled_out() {
        let check = |text: &str, expect: &str| assert_eq!(visible(text), expect, "{text:?}");
        check("a\nb\tc é 😀", "a\nb\tc é 😀");
        check("\u{202e}gpj.exe", r"\u{202e}gpj.exe");
        check("\u{1b}[2J\r\0", r"\u{1b}[2J\u{d}\u{0}");
    }

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(brief("äöü\nß", 4), "äöü …");
        assert_eq!(brief("äöü", 3), "äöü");
    }
}
