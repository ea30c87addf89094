//! What the README shows is what happens.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use postback_core::{
    policy::Policy,
    request::{Limits, parse},
};

fn block(start: &str) -> String {
    let readme = include_str!("../../../README.md");
    let after = readme.split(start).nth(1).unwrap();
    after.split("```").nth(1).unwrap().split_once('\n').unwrap().1.trim().to_owned()
}

#[test]
fn the_sample_request_sends_the_sample_url() {
    let text = block("<!-- sample request -->");
    let limits = Limits { max_rows: 10, unmatched: String::new() };
    let request = parse(text.as_bytes(), &limits).unwrap();
    let filled = request.envelope.endpoint.fill(&request.rows[0]).unwrap();
    let url = request.envelope.endpoint.origin().url(&filled.target);
    let sent = format!("{} {url}", request.envelope.endpoint.template().method);
    assert_eq!(sent, block("<!-- sample url -->"));
    let unmatched: Vec<_> = request.unmatched.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(unmatched, [("bar", 1), ("click_id", 1)]);
}

#[test]
fn the_sample_policy_is_the_default_policy() {
    let text = block("<!-- sample request -->");
    let limits = Limits { max_rows: 10, unmatched: String::new() };
    let policy = parse(text.as_bytes(), &limits).unwrap().envelope.policy.clone();
    let default =
        |waits: &[std::time::Duration]| waits.iter().map(|w| w.as_millis() as u64).collect();
    assert_eq!(policy.retries_ms, Some(default(&postback_core::policy::DEFAULT_RETRIES)));
    assert_eq!(policy.timeout_ms, Some(postback_core::policy::DEFAULT_TIMEOUT.as_millis() as u64));
    let expires = postback_core::policy::DEFAULT_EXPIRES_IN.as_millis() as u64;
    assert_eq!(policy.expires_in_ms, Some(expires));
    assert_eq!((policy.success, policy.label), (Policy::default().success, None));
}
