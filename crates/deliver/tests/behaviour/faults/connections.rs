//! A request is sent at most once in an attempt, whatever the connection does.

use postback_core::{
    endpoint::{BodyTemplate, EndpointTemplate, Method},
    policy::Policy,
    value::Value,
    view::Standing,
};

use super::{ended, enqueue_one, lane};
use crate::support::{Sink, Stack};

/// Two rows on one connection that breaks as the second is sent; `read`: the partner has read it by then.
async fn check_broken_as_we_send(path: &str, read: bool) {
    let mut stack = Stack::start();
    let endpoint = EndpointTemplate {
        method: Method::Post,
        body: BodyTemplate::Json(r#"{"n":"{n}"}"#.into()),
        ..stack.endpoint(&format!("{path}?n={{n}}"))
    };
    let policy = Policy { retries_ms: Some(vec![20, 20]), ..lane(path) };
    let rows = ["0", "1"].map(|n| vec![Value::Text(n.into())]);
    let stored = stack.enqueue(&endpoint, &policy, &rows).await;
    stack.deliver(&["--per-host", "1"]);
    let mut statuses = vec![];
    for row in 0..2 {
        let shown = ended(&stack, stored[0].id.postback(row)).await;
        assert_eq!(shown.state, Standing::Delivered, "{shown:#?}");
        let sent = stack.seen().iter().filter(|seen| seen.id() == shown.id).count();
        // What was reset unread is not in the sink's journal.
        let unread = if row == 1 && !read { 1 } else { 0 };
        assert_eq!(sent + unread, shown.attempts.len(), "{path}: {shown:#?}");
        statuses.push(shown.attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>());
    }
    assert_eq!(statuses, [vec![Some(200)], vec![None, Some(200)]], "{path}");
    let connections: Vec<_> = stack.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, if read { vec![1, 1, 2] } else { vec![1, 2] }, "{path}");
}

#[tokio::test]
async fn a_connection_closed_as_we_send_costs_an_attempt_and_no_second_sending_in_it() {
    check_broken_as_we_send("/close-next", true).await;
}

#[tokio::test]
async fn a_connection_reset_as_we_send_costs_an_attempt_and_no_second_sending_in_it() {
    check_broken_as_we_send("/reset-next", false).await;
}

#[tokio::test]
async fn a_redirect_is_dead_at_once_and_its_target_is_never_called() {
    let mut stack = Stack::start();
    let other = Sink::start(stack.redis.dir(), "other", &[]);
    let mut stored = vec![];
    for code in ["300", "301", "302", "303", "304", "307", "308"] {
        let target = format!("http%3A%2F%2F127.0.0.1%3A{}%2Ftarget", other.port);
        let path = format!("/redirect/{code}?to={target}");
        let endpoint = EndpointTemplate {
            method: Method::Post,
            body: BodyTemplate::None,
            ..stack.endpoint(&path)
        };
        let policy = Policy { retries_ms: Some(vec![20, 20]), ..lane(code) };
        stored.push((code, enqueue_one(&stack, &endpoint, &policy).await));
    }
    stack.deliver(&[]);
    for (code, id) in stored {
        let shown = ended(&stack, id).await;
        let statuses: Vec<_> = shown.attempts.iter().map(|attempt| attempt.status).collect();
        assert_eq!((shown.state, statuses), (Standing::Dead, vec![code.parse().ok()]));
    }
    assert_eq!((stack.seen().len(), other.seen().len()), (7, 0));
}

#[tokio::test]
async fn no_request_asks_for_compression() {
    let mut stack = Stack::start();
    let id = enqueue_one(&stack, &stack.endpoint("/x"), &lane("x")).await;
    stack.deliver(&[]);
    ended(&stack, id).await;
    let seen = stack.seen();
    assert!(!seen[0].headers.contains_key("accept-encoding"), "{seen:?}");
}
