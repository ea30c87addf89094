//! Certificates and handshakes, good and bad.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use postback_core::{attempt::Cause, endpoint::EndpointTemplate, policy::Policy, view::Standing};

use super::{ended, enqueue_one, lane};
use crate::support::{Sink, Stack, numbers};

/// A sink that speaks TLS.
pub(super) struct Partner {
    pub(super) sink: Sink,
    /// Its root.
    pub(super) ca_file: PathBuf,
}

impl Partner {
    pub(super) fn start(stack: &Stack, mode: &str) -> Partner {
        let ca_file = stack.redis.dir().join(format!("{mode}.pem"));
        let path = ca_file.to_str().expect("a path").to_owned();
        let options = ["--tls", mode, "--ca-file", &path];
        Partner { sink: Sink::start(stack.redis.dir(), mode, &options), ca_file }
    }

    pub(super) fn endpoint(&self, stack: &Stack, host: &str, path: &str) -> EndpointTemplate {
        let url = format!("https://{host}:{}{path}", self.sink.port);
        EndpointTemplate { url, ..stack.endpoint("/") }
    }
}

/// The roots of all partners in one file.
fn roots(stack: &Stack, partners: &[&Partner]) -> String {
    let path = stack.redis.dir().join("roots.pem");
    let all: Vec<String> =
        partners.iter().map(|partner| fs::read_to_string(&partner.ca_file).unwrap()).collect();
    fs::write(&path, all.concat()).unwrap();
    path.to_str().expect("a path").to_owned()
}

#[tokio::test]
async fn a_bad_certificate_and_a_stalled_handshake_are_tls_failures_and_nothing_is_sent() {
    let mut stack = Stack::start();
    let modes = ["expired", "self-signed", "wrong-name", "stall"];
    let [expired, own, wrong, stall] = modes.map(|mode| Partner::start(&stack, mode));
    let roots = roots(&stack, &[&expired, &own, &wrong, &stall]);
    let table = [
        (&expired, "localhost", "certificate has expired"),
        (&own, "localhost", "self-signed certificate"),
        (&wrong, "localhost", "hostname mismatch"),
        (&wrong, "127.0.0.1", "IP address mismatch"),
        (&stall, "127.0.0.1", "no handshake within 5s"),
    ];
    let mut stored = vec![];
    for (partner, host, why) in table {
        let endpoint = partner.endpoint(&stack, host, "/x");
        stored.push((why, enqueue_one(&stack, &endpoint, &lane(why)).await));
    }
    let since = Instant::now();
    stack.deliver(&["--ca-file", &roots]);
    for (why, id) in stored {
        let shown = ended(&stack, id).await;
        assert_eq!((shown.state, shown.cause), (Standing::Dead, Some(Cause::Tls)), "{shown:#?}");
        let error = shown.attempts[0].error.as_deref().unwrap_or_default();
        assert!(error.starts_with("tls: ") && error.contains(why), "{why}: {error}");
    }
    let took = since.elapsed();
    assert!((Duration::from_secs(5)..Duration::from_secs(9)).contains(&took), "{took:?}");
    for partner in [expired, own, wrong, stall] {
        assert_eq!(partner.sink.seen().len(), 0, "something was sent");
    }
}

#[tokio::test]
async fn a_good_certificate_is_trusted_by_its_root_and_its_connection_is_reused() {
    let mut stack = Stack::start();
    let good = Partner::start(&stack, "good");
    stack.deliver(&["--per-host", "1", "--ca-file", good.ca_file.to_str().unwrap()]);
    let policy = Policy { timeout_ms: Some(10_000), ..lane("good") };
    for (number, host) in (1..).zip(["localhost", "127.0.0.1"]) {
        let endpoint = good.endpoint(&stack, host, "/x?n={n}");
        let stored = stack.enqueue(&endpoint, &policy, &numbers(50)).await;
        for row in 0..50 {
            let shown = ended(&stack, stored[0].id.postback(row)).await;
            assert_eq!((shown.state, shown.attempts.len()), (Standing::Delivered, 1), "{shown:#?}");
        }
        let connections: Vec<_> = good.sink.seen().iter().map(|seen| seen.connection).collect();
        assert_eq!(connections.len(), 50 * number);
        assert_eq!(connections[connections.len() - 50..], vec![number as u64; 50], "{host}");
    }
}

#[tokio::test]
async fn a_private_root_is_not_trusted_without_ca_file() {
    let mut stack = Stack::start();
    let good = Partner::start(&stack, "good");
    let id = enqueue_one(&stack, &good.endpoint(&stack, "localhost", "/x"), &lane("x")).await;
    stack.deliver(&[]);
    let shown = ended(&stack, id).await;
    assert_eq!((shown.state, shown.cause), (Standing::Dead, Some(Cause::Tls)), "{shown:#?}");
    assert_eq!(good.sink.seen().len(), 0);
}
