//! What was sent, as a template that gives the same again: braces in it are no placeholders.

use serde_json::Value;

/// A header or a text: `{{` and `}}` are literal braces there.
pub(super) fn text(sent: &str) -> String {
    sent.replace('{', "{{").replace('}', "}}")
}

/// A body as `/try` takes it: JSON stays readable where no text in it holds a brace.
pub(super) fn body(sent: &str) -> String {
    let value = serde_json::from_str::<Value>(sent).ok();
    match value.filter(|value| value.is_object() || value.is_array()) {
        Some(value) if !holds_braces(&value) => sent.to_owned(),
        _ => text(sent),
    }
}

fn holds_braces(value: &Value) -> bool {
    let has = |text: &str| text.contains(['{', '}']);
    match value {
        Value::String(text) => has(text),
        Value::Array(items) => items.iter().any(holds_braces),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| has(name) || holds_braces(value))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_that_were_sent_open_no_placeholder() {
        let check = |sent: &str, expect: &str| assert_eq!(body(sent), expect);
        check(r#"{"a": {"b": 1.10}}"#, r#"{"a": {"b": 1.10}}"#);
        check(r#"{"a": "{b}"}"#, r#"{{"a": "{{b}}"}}"#);
        check(r#"["{b}"]"#, r#"["{{b}}"]"#);
        check("a={b}", "a={{b}}");
        check("plain", "plain");
        assert_eq!(text("X-A: {foo}\n"), "X-A: {{foo}}\n");
    }
}
