//! Names that do not resolve: what is told of them, how long it takes, and whom it harms.

use std::time::{Duration, Instant};

use postback_core::{
    attempt::Cause,
    id::PostbackId,
    view::{Postback, Standing},
};

use crate::{
    namespace::inside,
    stack::{SOON, Stack, opened},
};

/// How long a name may take (DESIGN, delivery rules), and what a busy machine may add.
const DNS: Duration = Duration::from_secs(5);
const SLACK: Duration = Duration::from_secs(2);
/// Within this time rows are delivered whom nothing holds up.
const PROMPT: Duration = Duration::from_secs(2);
/// The wait before a retry; more than the 2 s for which an answer is kept, whatever the jitter.
const AGAIN_MS: u64 = 2600;
/// More dead names than the resolver has threads.
const DEAD: usize = 60;

/// Checks that a row died of its name; returns what was told.
fn told(end: &Postback, host: &str) -> String {
    assert_eq!((end.state, end.cause), (Standing::Dead, Some(Cause::Dns)), "{end:?}");
    let error = end.attempts[0].error.clone().unwrap();
    assert!(error.contains(host), "{error} does not name {host}");
    error
}

#[test]
fn a_name_that_does_not_resolve_is_told_with_its_reason() {
    inside(async {
        let mut stack = Stack::start();
        stack.deliver(&[]);
        for host in ["nxdomain.test", "servfail.test", "empty.test", "garbage.test"] {
            let since = Instant::now();
            let id = stack.store(&format!("http://{host}/")).await;
            println!("{} after {:?}", told(&stack.end(id).await, host), since.elapsed());
            assert!(since.elapsed() < DNS + SLACK, "{host} took {:?}", since.elapsed());
        }
        assert_eq!(opened(), 0);
    });
}

#[test]
fn a_silent_name_server_costs_its_time_limit() {
    inside(async {
        let mut stack = Stack::start();
        stack.deliver(&[]);
        let since = Instant::now();
        let id = stack.store_with("http://silent.test/", vec![1]).await;
        let within = DNS + SLACK;
        let first = stack.until(id, within, |postback| !postback.attempts.is_empty()).await;
        assert!(since.elapsed() > DNS, "given up after {:?}", since.elapsed());
        let error = first.attempts[0].error.clone().unwrap();
        let end = stack.end(id).await;
        assert_eq!((end.attempts.len(), told(&end, "silent.test")), (2, error));
        assert_eq!(opened(), 0);
    });
}

/// Sends to each URL and waits until all are delivered, which must not take long.
async fn are_prompt(stack: &Stack, what: &str, urls: Vec<String>) {
    let since = Instant::now();
    let mut sent = Vec::new();
    for url in &urls {
        sent.push(stack.store(url).await);
    }
    for id in sent {
        let end = stack.end(id).await;
        assert_eq!(end.state, Standing::Delivered, "{end:?}");
        assert!(since.elapsed() < PROMPT, "{what} took {:?}", since.elapsed());
    }
    println!("{what}: {} rows in {:?}", urls.len(), since.elapsed());
}

fn literals() -> Vec<String> {
    (1..=20).map(|n| format!("http://1.1.1.{n}/")).collect()
}

/// Rows to more silent names than there are threads, each to be tried again.
async fn many_silent(stack: &Stack) -> Vec<PostbackId> {
    let mut dead = Vec::new();
    for n in 0..DEAD {
        let url = format!("http://silent{n}.test/");
        dead.push(stack.store_with(&url, vec![AGAIN_MS; 20]).await);
    }
    let since = Instant::now();
    while !stack.dns.names().keys().any(|name| name.starts_with("silent")) {
        assert!(since.elapsed() < SOON, "no silent name was asked for");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    dead
}

#[test]
fn names_that_are_silent_again_hold_up_nobody_else() {
    inside(async {
        let mut stack = Stack::start();
        stack.deliver(&[]);
        let dead = many_silent(&stack).await;
        are_prompt(&stack, "literals beside new silent names", literals()).await;
        for id in &dead {
            let failed = |postback: &Postback| !postback.attempts.is_empty();
            let postback = stack.until(*id, 2 * DNS + SLACK, failed).await;
            let error = postback.attempts[0].error.as_deref().unwrap();
            assert!(error.starts_with("dns: silent"), "{error}");
        }
        // From here on they are known to be silent; the waves last until each was tried a second time.
        let since = Instant::now();
        let mut wave = 0;
        for id in dead {
            while stack.until(id, SOON, |_| true).await.attempts.len() < 2 {
                assert!(since.elapsed() < SOON, "the silent names were not asked for again");
                let fresh = (0..20).map(|n| format!("http://fresh{wave}-{n}.test/"));
                are_prompt(&stack, "fresh names beside silent ones", fresh.collect()).await;
                are_prompt(&stack, "literals beside silent names", literals()).await;
                wave += 1;
            }
        }
        assert!(wave > 0, "the silent names were tried twice before anybody else");
    });
}
