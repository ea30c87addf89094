//! Names whose answers change between two questions: what was checked is what is called.

use std::{net::IpAddr, time::Instant};

use postback_core::{attempt::Cause, id::PostbackId, view::Standing};

use crate::{
    namespace::inside,
    stack::{SOON, Stack, opened},
    zone,
};

/// Waits for the ends: delivered or blocked, and only the public address heard of it. How many of each.
async fn ends(stack: &Stack, sent: Vec<PostbackId>) -> (usize, usize) {
    let (mut delivered, mut blocked) = (0, 0);
    for id in sent {
        let end = stack.end(id).await;
        match (end.state, end.cause) {
            (Standing::Delivered, _) => delivered += 1,
            (_, Some(Cause::Blocked)) => blocked += 1,
            _ => panic!("neither delivered nor blocked: {end:?}"),
        }
    }
    (delivered, blocked)
}

fn only_the_public_address_was_called(stack: &Stack, times: usize) {
    let public: IpAddr = zone::ONE.parse().unwrap();
    assert_eq!(stack.called(), vec![public; times]);
    assert_eq!(opened() as usize, times, "others were called than those who heard");
}

#[test]
fn a_name_that_turns_private_is_judged_with_each_answer() {
    inside(async {
        let mut stack = Stack::start();
        stack.ingest();
        let (mut delivered, mut blocked) = (0, 0);
        // A new process remembers no name: each asks anew, and gets the other answer.
        for round in 0..4_usize {
            let deliver = stack.deliver(&[]);
            let mut sent = Vec::new();
            for name in (0..40).map(|n| format!("http://rebind{n}.test/")) {
                sent.push(match round {
                    0 | 1 => stack.post(&name).unwrap(),
                    _ => stack.store(&name).await,
                });
            }
            let (yes, no) = ends(&stack, sent).await;
            (delivered, blocked) = (delivered + yes, blocked + no);
            stack.kill(deliver);
            assert_eq!((delivered, blocked), (40 * (round / 2 + 1), 40 * round.div_ceil(2)));
        }
        only_the_public_address_was_called(&stack, 80);
        assert!(stack.dns.names().values().all(|asked| *asked == 4), "{:?}", stack.dns.names());
    });
}

#[test]
fn one_process_that_asks_again_and_again_never_calls_what_it_did_not_judge() {
    inside(async {
        let mut stack = Stack::start();
        stack.deliver(&[]);
        let (mut delivered, mut blocked, since) = (0, 0, Instant::now());
        while stack.dns.asked("rebind.test") < 4 {
            assert!(since.elapsed() < SOON, "the name was kept");
            let mut sent = Vec::new();
            for n in 0..20 {
                sent.push(stack.store(&format!("http://rebind.test/?n={n}")).await);
            }
            let (yes, no) = ends(&stack, sent).await;
            (delivered, blocked) = (delivered + yes, blocked + no);
        }
        assert!(delivered > 0 && blocked > 0, "{delivered} delivered, {blocked} blocked");
        only_the_public_address_was_called(&stack, delivered);
    });
}
