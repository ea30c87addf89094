//! What the minutes hold: counted once, added up over shards and steps, and kept for a bounded time.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use postback_core::{
    attempt::{Next, Outcome, Response},
    figures::Tally,
    health::{Health, Nginx},
    policy::Success,
    queue::{PastSteps, Queue, Settle, Span, Which},
    testing::RedisServer,
};

fn ask<T: redis::FromRedisValue>(server: &RedisServer, words: &[&str]) -> T {
    let mut redis = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
    redis::cmd(words[0]).arg(&words[1..]).query(&mut redis).unwrap()
}

async fn start(shards: u16) -> (RedisServer, Queue) {
    let server = RedisServer::start();
    let queue = Queue::open(&server.url(), "pb", shards).unwrap();
    (server, queue)
}

fn tally(status: u16, waited: Duration, next: Next) -> Tally {
    let response = Response {
        status,
        retry_after: None,
        body: Vec::new(),
        truncated: false,
        body_failed: None,
    };
    let outcome = Outcome { result: Ok(response), response_time: waited / 2 };
    let mut tally = Tally::default();
    tally.attempt(&outcome, &Success::default(), next, waited);
    tally
}

fn settle(number: u64, tally: &Tally) -> Settle {
    Settle { number, counts: tally.counts(), buckets: tally.buckets(), ..Settle::default() }
}

#[tokio::test]
async fn a_repeated_settle_counts_once_and_shards_add_up() {
    let (_server, queue) = start(2).await;
    let second = Duration::from_secs(1);
    for shard in queue.shards() {
        shard.beat("w", Which::First, &[]).await.unwrap();
        let good = settle(1, &tally(200, second, Next::Delivered));
        for settle in [&good, &good, &settle(2, &tally(503, second, Next::Retry(second)))] {
            shard.settle("w", settle).await.unwrap();
        }
    }
    let minutes = queue.minutes(Span::Hour, &PastSteps::default()).await.unwrap();
    assert_eq!(minutes.steps.len(), 61);
    let mut all = minutes.steps[0].figures.clone();
    minutes.steps[1..].iter().for_each(|step| all.merge(&step.figures));
    assert_eq!((all.attempts(), all.retried, all.failed()), (4, 2, 2));
    assert_eq!((all.accept_to_delivered.count(), all.response.count()), (2, 4));
    let p50 = all.accept_to_delivered.percentile(50.0).unwrap().as_secs_f64();
    assert!((0.9..1.1).contains(&p50), "{p50}");
    for shard in queue.shards() {
        let totals = shard.totals().await.unwrap();
        assert_eq!((totals.classes[0], totals.classes[3], totals.retried), (1, 1, 1));
    }
}

#[tokio::test]
async fn steps_hold_their_minutes_and_nothing_of_others() {
    let (server, queue) = start(1).await;
    let now = ask::<(u64, u64)>(&server, &["TIME"]).0 / 60;
    for ago in 0..3000 {
        ask::<u64>(&server, &["HSET", &format!("pb:{{0}}:minute:{}", now - ago), "accepted", "1"]);
    }
    for (span, steps, of_step) in
        [(Span::Hour, 61, 1), (Span::EightHours, 97, 5), (Span::TwoDays, 97, 30)]
    {
        let found = queue.minutes(span, &PastSteps::default()).await.unwrap().steps;
        assert_eq!(found.len(), steps);
        let (last, over) = found.split_last().unwrap();
        let whole = Duration::from_secs(60 * of_step);
        assert!(over.iter().all(|step| (step.figures.accepted, step.time) == (of_step, whole)));
        assert!(last.figures.accepted <= of_step && last.time <= whole, "{last:?}");
        assert_eq!(last.at_ms - found[0].at_ms, (steps as u64 - 1) * of_step * 60_000);
        assert_eq!(last.at_ms % (of_step * 60_000), 0, "steps begin at round times");
    }
}

#[tokio::test]
async fn steps_that_are_over_are_not_read_again_and_what_is_new_is() {
    let (server, queue) = start(1).await;
    let now = ask::<(u64, u64)>(&server, &["TIME"]).0 / 60;
    let set = |ago: u64, accepted: &str| {
        let key = format!("pb:{{0}}:minute:{}", now - ago);
        ask::<u64>(&server, &["HSET", &key, "accepted", accepted, "backlog", "1"])
    };
    let sum = async |past: &PastSteps| {
        let steps = queue.minutes(Span::EightHours, past).await.unwrap().steps;
        steps.iter().map(|step| step.figures.accepted).sum::<u64>()
    };
    let past = PastSteps::default();
    set(100, "1");
    assert_eq!(sum(&past).await, 1);
    for (ago, accepted) in [(100, "10"), (1, "200"), (0, "3000")] {
        set(ago, accepted);
    }
    assert_eq!(sum(&past).await, 3201);
    assert_eq!(sum(&PastSteps::default()).await, 3210);
    // Of another span nothing is known yet.
    let hours = queue.minutes(Span::TwoDays, &past).await.unwrap().steps;
    assert_eq!(hours.iter().map(|step| step.figures.accepted).sum::<u64>(), 3210);
}

#[tokio::test]
async fn what_is_seen_of_the_queue_is_the_last_of_a_minute_and_the_greatest_age() {
    let (server, queue) = start(1).await;
    ask::<u64>(&server, &["HSET", "pb:{0}:stats", "pending", "7", "dead", "2"]);
    queue.shards()[0].beat("w", Which::First, &[("in_flight", "5".into())]).await.unwrap();
    let samples = loop {
        let now = ask::<(u64, u64)>(&server, &["TIME"]).0 / 60;
        let key = format!("pb:{{0}}:minute:{now}");
        ask::<u64>(&server, &["HSET", &key, "oldest_ms", "60000", "backlog", "99"]);
        queue.sample().await.unwrap();
        assert!(ask::<i64>(&server, &["TTL", &key]) > 0, "it is kept for ever");
        if ask::<(u64, u64)>(&server, &["TIME"]).0 / 60 == now {
            break queue
                .minutes(Span::Hour, &PastSteps::default())
                .await
                .unwrap()
                .recent
                .figures
                .samples
                .unwrap();
        }
    };
    assert_eq!((samples.backlog, samples.dead_rows, samples.in_flight), (7, 2, 5));
    assert_eq!(samples.oldest, Duration::from_secs(60));
}

#[tokio::test]
async fn one_of_all_processes_is_to_look_at_the_queue_and_each_box_is_kept() {
    let (server, queue) = start(1).await;
    let health = Health { cpu: 0.25, cores: 2, memory_total: 1 << 30, ..Health::default() };
    let nginx = Nginx { active: 3, reading: 0, writing: 1, waiting: 2 };
    let mut turns = Vec::new();
    for name in ["a", "b", "a"] {
        turns.push(queue.tell_health(name, Some(&health), Some(&nginx)).await.unwrap());
    }
    assert_eq!(turns, [true, false, false]);
    let boxes = queue.minutes(Span::Hour, &PastSteps::default()).await.unwrap().boxes;
    assert_eq!(boxes.iter().map(|seen| &seen.name[..]).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((boxes[0].latest, boxes[0].nginx), (Some(health), Some(nginx)));
    let keys: Vec<String> = ask(&server, &["KEYS", "pb:{0}:health:*"]);
    assert!(keys.iter().all(|key| ask::<i64>(&server, &["TTL", key]) > 0), "kept for ever");
}

#[tokio::test]
async fn a_minute_keeps_at_most_64_boxes() {
    let (server, queue) = start(1).await;
    let nginx = Nginx::default();
    for n in 0..100 {
        let health = Health::default();
        queue.tell_health(&format!("box-{n}"), Some(&health), Some(&nginx)).await.unwrap();
    }
    for key in ask::<Vec<String>>(&server, &["KEYS", "pb:{0}:health:*"]) {
        assert!(ask::<u64>(&server, &["HLEN", &key]) <= 128);
    }
}

#[tokio::test]
async fn whose_turn_it_is_goes_by_the_fleet_s_clock() {
    let (server, queue) = start(1).await;
    assert!(queue.tell_health("a", None, None).await.unwrap());
    assert!(!queue.tell_health("b", None, None).await.unwrap());
    ask::<i64>(&server, &["HINCRBY", "pb:{0}:clock", "offset", "15000"]);
    assert!(queue.tell_health("b", None, None).await.unwrap());
    assert!(!queue.tell_health("a", None, None).await.unwrap());
}
