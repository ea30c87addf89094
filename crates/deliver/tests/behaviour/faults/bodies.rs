//! What partners answer is stored and shown so that it does no harm.

use postback_core::{id::PostbackId, view::Standing};

use super::{ended, enqueue_one, lane};
use crate::support::{Stack, program};

/// What `postbackctl` prints.
fn postbackctl(stack: &Stack, arguments: &[&str]) -> String {
    let output = program("postbackctl")
        .env("REDIS_URL", stack.redis.url_text())
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[tokio::test]
async fn bodies_are_stored_as_text_and_shown_without_effect() {
    let mut stack = Stack::start();
    let mut stored = vec![];
    for kind in ["html", "ansi", "invalid-utf8", "nul", "large"] {
        let endpoint = stack.endpoint(&format!("/body/{kind}"));
        stored.push((kind, enqueue_one(&stack, &endpoint, &lane(kind)).await));
    }
    stack.deliver(&[]);
    for (kind, id) in stored {
        check(&stack, kind, id).await;
    }
}

async fn check(stack: &Stack, kind: &str, id: PostbackId) {
    let shown = ended(stack, id).await;
    assert_eq!((shown.state, shown.attempts.len()), (Standing::Delivered, 1), "{kind}: {shown:?}");
    let body = shown.attempts[0].response_body.clone().expect("a body");
    assert_eq!(shown.attempts[0].truncated, kind == "large", "{kind}: {shown:?}");
    let stored_right = match kind {
        "html" => body.starts_with("<!doctype html><script>alert(document.domain)</script>"),
        "ansi" => body.starts_with("\u{1b}[2J\u{1b}[31mred") && body.contains("\u{9b}1m\u{202e}"),
        // Each maximal part that is no UTF-8 becomes one U+FFFD (Unicode, 3.9).
        "invalid-utf8" => body == "ok \u{fffd} \u{fffd} \u{fffd}( \u{fffd}\u{fffd}\u{fffd} end\n",
        "nul" => body == "a\0b\0\n",
        // 1,024 bytes end in the middle of a character.
        _ => body == format!("x{}\u{fffd}", "é".repeat(511)),
    };
    assert!(stored_right, "{kind}: {body:?}");

    let text = postbackctl(stack, &["show", &id.to_string()]);
    let moves = |c: char| (c.is_control() && c != '\n') || ('\u{202a}'..='\u{202e}').contains(&c);
    assert!(!text.contains(moves), "{kind}: {text:?}");
    assert!(text.contains(&id.to_string()) && text.contains("200"), "{kind}: {text}");
    let json = postbackctl(stack, &["show", "--json", &id.to_string()]);
    // Escaped, it must give the body back as it is stored.
    assert!(!json.contains(moves), "{kind}: {json:?}");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["attempts"][0]["response_body"], body, "{kind}");
}
