//! How pages show a postback: what is secret hidden, what is long cut.

use postback_core::view::{Attempt, Postback};

use super::{redact::Redact, text::Text};

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

/// A stranger's text on one line, cut after so many characters.
pub(crate) fn brief(text: &str, most: usize) -> String {
    let mut brief: String = text.chars().take(most).collect();
    if brief.len() < text.len() {
        brief.push('…');
    }
    Text(brief.replace(['\n', '\t'], " ")).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_long_is_cut_between_characters() {
        assert_eq!(brief("äöü\nß", 4), "äöü …");
        assert_eq!(brief("äöü", 3), "äöü");
        assert_eq!(brief("a\u{202e}b", 3), r"a\u{202e}b");
    }
}
