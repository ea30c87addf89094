//! `Retry-After`: followed when it is longer than the policy's wait, for at most an hour.

use std::time::{Duration, Instant};

use postback_core::{
    policy::Policy,
    queue::{Record, Recorded},
};

use super::{SOON, enqueue_one, lane};
use crate::support::{Seen, Stack};

/// The row's first record, once it is there.
async fn first_attempt(stack: &Stack, id: &str) -> Record {
    let since = Instant::now();
    loop {
        let log = stack.queue.shards()[0].log(false, None).await.unwrap();
        if let Some(record) = log.records.into_iter().find(|r| r.id == id && r.attempt == 1) {
            return record;
        }
        assert!(since.elapsed() < SOON, "{id} was not tried");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn seen_of<'a>(seen: &'a [Seen], id: &str) -> Vec<&'a Seen> {
    seen.iter().filter(|seen| seen.id() == id).collect()
}

#[tokio::test]
async fn the_next_attempt_is_due_by_the_longer_of_retry_after_and_the_policy() {
    let mut stack = Stack::start();
    // The value, the policy's wait in ms, and the least and most seconds until the next attempt. The policy's wait
    // varies by a fifth; a date is cut to the second.
    let table: [(&str, u64, f64, f64); 10] = [
        ("2", 100, 2.0, 2.0),
        ("date%2B3", 100, 2.0, 3.0),
        ("999999", 100, 3600.0, 3600.0),
        ("date%2B86400", 100, 3600.0, 3600.0),
        ("2", 60_000, 48.0, 72.0),
        ("0", 60_000, 48.0, 72.0),
        ("-1", 60_000, 48.0, 72.0),
        ("1e99", 60_000, 48.0, 72.0),
        ("date-60", 60_000, 48.0, 72.0),
        ("99999999999999999999999999999", 60_000, 48.0, 72.0),
    ];
    let mut stored = vec![];
    for (number, (value, wait, least, most)) in table.into_iter().enumerate() {
        let policy = Policy { retries_ms: Some(vec![wait]), ..lane(&number.to_string()) };
        let endpoint = stack.endpoint(&format!("/retry-after/{value}"));
        stored.push((
            value,
            enqueue_one(&stack, &endpoint, &policy).await.to_string(),
            least,
            most,
        ));
    }
    stack.deliver(&[]);
    for (value, id, least, most) in &stored {
        let record = first_attempt(&stack, id).await;
        let Recorded::Retry(due_ms) = record.then else { panic!("{value}: {record:?}") };
        let sent_us = seen_of(&stack.seen(), id)[0].at_us;
        let wait = (due_ms * 1000).saturating_sub(sent_us) as f64 / 1e6;
        // The log's time is reckoned from Redis's last reply, and the answer takes its time.
        assert!((least - 0.05..most + 1.0).contains(&wait), "{value}: due after {wait} s");
        if wait > 40.0 {
            let shown = stack.queue.postback(id.parse().unwrap()).await.unwrap().unwrap();
            assert!(shown.attempts.len() == 1 && shown.due_at.is_some(), "{value}: {shown:#?}");
        }
    }
    // And it is kept to: the second attempt comes, and not before.
    let (_, id, ..) = &stored[0];
    let since = Instant::now();
    while seen_of(&stack.seen(), id).len() < 2 {
        assert!(since.elapsed() < SOON, "there was no second attempt");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = stack.seen();
    let times: Vec<u64> = seen_of(&seen, id).iter().map(|seen| seen.at_us / 1000).collect();
    let gap = times[1] - times[0];
    assert!((1990..6000).contains(&gap), "the second attempt came after {gap} ms");
}
