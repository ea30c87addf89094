//! A fleet whose parts are of different versions: what an older ingest stored is delivered, what a newer one stored is
//! dead until deliver is upgraded, and can be replayed then.

use std::time::Duration;

use postback_core::{
    attempt::Cause,
    batch::{Batch, VERSION},
    id::{BatchId, LaneId},
    queue::{Placed, Revision},
    view::Standing,
};

use crate::support::{Sink, Stack};

const SOON: Duration = Duration::from_secs(60);
/// The partner of the stored samples.
const PARTNER: &str = "127.77.0.1:18753";

/// A stored sample (postback-core's tests/stored).
fn sample(text: &str) -> Vec<u8> {
    let text: String = text.split_whitespace().collect();
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

/// Stores a sample as its ingest did; `bytes` may be of another version.
fn store(stack: &Stack, sample: &[u8], bytes: &[u8]) -> BatchId {
    let batch = Batch::decode(sample).unwrap();
    let lane = LaneId::of(batch.endpoint.origin(), batch.policy.label.as_deref());
    let id = BatchId::new(lane, fastrand::u64(..));
    stack.inject(id, bytes, None);
    id
}

#[tokio::test]
async fn what_older_versions_stored_is_delivered_and_a_newer_version_is_dead_until_it_is_known() {
    let get = sample(include_str!("../../../postback-core/tests/stored/batch-1-get.hex"));
    let post = sample(include_str!("../../../postback-core/tests/stored/batch-1-post.hex"));
    let second = sample(include_str!("../../../postback-core/tests/stored/batch-2-get.hex"));
    let mut stack = Stack::start();
    let partner = Sink::start_at(stack.redis.dir(), "sample", PARTNER);
    store(&stack, &get, &get);
    store(&stack, &post, &post);
    store(&stack, &second, &second);
    let newer = [&[VERSION + 1][..], &post[1..]].concat();
    let unknown = store(&stack, &post, &newer);
    stack.deliver(&[]);
    stack.until(SOON, "delivery", |s| s.delivered == 44 && s.dead == 40).await;
    let seen = partner.seen();
    assert!(seen.iter().any(|seen| seen.target == "/ok?a=%C3%A9&b=1.10"));
    let clicks = seen.iter().filter(|seen| seen.headers.contains_key("x-click")).count();
    assert_eq!((seen.len(), clicks), (44, 40));
    let shown = stack.queue.postback(unknown.postback(39)).await.unwrap().unwrap();
    assert_eq!((shown.state, shown.cause), (Standing::Dead, Some(Cause::Undecodable)));
    // deliver is upgraded: here the bytes become what this one knows.
    let key = format!("pb:{{0}}:batch:{unknown}");
    redis::cmd("SETRANGE")
        .arg(key)
        .arg(8)
        .arg(&b"\x01"[..])
        .exec(&mut stack.redis_connection())
        .unwrap();
    let batch = [Placed { id: unknown, depth: 0, from_tail: false }];
    let all = |_: &_| (0..40).collect();
    stack.queue.shards()[0].revise(&batch, Revision::Replay, all).await.unwrap();
    stack.until(SOON, "delivery after the upgrade", |s| s.delivered == 84).await;
}
