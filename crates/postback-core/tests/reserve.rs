//! What a reserve reads and loses: no more than it can hand out, and nothing.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, time::Duration};

use postback_core::{
    batch::{Source, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::{BatchId, LaneId},
    policy::Policy,
    queue::{Enqueue, Queue, QueueError, Reservation, Reserve, Which},
    testing::RedisServer,
    value::Value,
};

const MIB: usize = 1024 * 1024;

struct Stack {
    server: RedisServer,
    queue: Queue,
}

impl Stack {
    async fn start() -> Stack {
        let server = RedisServer::start_with(&["--appendonly", "no"]);
        let queue = Queue::open(&server.url(), "pb", 1).unwrap();
        queue.shards()[0].beat("w", Which::First, &[]).await.unwrap();
        Stack { server, queue }
    }

    fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut redis = redis::Client::open(self.server.url_text()).unwrap();
        redis::cmd(words[0]).arg(&words[1..]).query(&mut redis).unwrap()
    }

    /// Stores a batch of so many rows in a lane of its own or of others of this host.
    async fn store(&self, host: &str, rows: usize) -> (LaneId, BatchId) {
        let origin = Origin { tls: false, host: host.to_owned(), port: 80 };
        let endpoint = EndpointTemplate {
            method: Method::Get,
            url: format!("http://{host}/"),
            headers: vec![],
            body: BodyTemplate::None,
            reference: None,
            unmatched: Unmatched::Reject,
        };
        let source = Source {
            request_id: "r".into(),
            traceparent: None,
            received_at_ms: 1,
            first_row: 0,
            nginx_ms: None,
        };
        let rows = vec![vec![Value::Text("x".into())]; rows];
        let batches = encode(&endpoint, &Policy::default(), &source, &rows);
        let lane = LaneId::of(&origin, None);
        let request =
            Enqueue { lane, name: host, delay: Duration::ZERO, batches: &batches, max_backlog: 0 };
        (lane, self.queue.enqueue(request).await.unwrap()[0].id)
    }

    async fn reserve(
        &self,
        rows: usize,
        room: &[(LaneId, usize)],
    ) -> Result<Reservation, QueueError> {
        let ask = Reserve {
            worker: "w",
            rows,
            batches: 200,
            held: 0,
            of_lane: 1000,
            wants: &[],
            only: false,
            room,
        };
        self.queue.shards()[0].reserve(&ask).await
    }

    fn memory(&self, name: &str) -> usize {
        let info: String = self.ask(&["INFO", "memory"]);
        let value = info.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).unwrap();
        value.trim().parse().unwrap()
    }
}

#[tokio::test]
async fn large_batches_behind_small_ones_are_not_all_read_at_once() {
    let stack = Stack::start().await;
    for n in 0..2 {
        stack.store(&format!("a{n}.com"), 1).await;
    }
    for n in 0..60 {
        let (_, batch) = stack.store(&format!("b{n}.com"), 1).await;
        // Of what makes it large nothing is read before it is handed out.
        let key = format!("pb:{{0}}:batch:{batch}");
        stack.ask::<()>(&["SETRANGE", &key, &MIB.to_string(), "x"]);
    }
    stack.ask::<()>(&["CONFIG", "RESETSTAT"]);
    let before = stack.memory("used_memory_peak");
    let got = stack.reserve(62, &[]).await.unwrap();
    let bytes: usize = got.batches.iter().map(|batch| batch.bytes.len()).sum();
    assert!((8 * MIB..10 * MIB).contains(&bytes), "{bytes} bytes came");
    let cost = stack.memory("used_memory_peak") - before;
    println!("{cost} bytes more for {bytes}");
    assert!(cost < 30 * MIB, "{cost} bytes more for {bytes}");
}

#[tokio::test]
async fn a_reserve_that_fails_half_way_loses_no_batch() {
    let stack = Stack::start().await;
    let key = |lane: LaneId| format!("pb:{{0}}:lane:{lane}");
    let mut stored = vec![];
    for n in 0..5 {
        let (lane, batch) = stack.store(&format!("h{n}.com"), 1).await;
        // Served in this order.
        stack.ask::<()>(&["ZADD", "pb:{0}:lanes", &n.to_string(), &lane.to_string()]);
        stored.push((lane, batch.to_string()));
    }
    let (broken, _) = stored.pop().unwrap();
    stack.ask::<()>(&["SET", &key(broken), "no list"]);
    let error = stack.reserve(10, &[]).await.unwrap_err();
    assert!(error.to_string().contains("WRONGTYPE"), "{error}");
    let held: BTreeSet<String> = stack.ask(&["SMEMBERS", "pb:{0}:held:w"]);
    for (lane, batch) in stored {
        let ready: Vec<String> = stack.ask(&["LRANGE", &key(lane), "0", "-1"]);
        assert!(ready == [&*batch] || (ready.is_empty() && held.contains(&batch)), "{batch}");
    }
}

#[tokio::test]
async fn it_tells_whether_anything_is_left_that_the_worker_may_have_room_for() {
    let check = async |rows: usize, room: Option<usize>, expect: &str, batches: usize| {
        let stack = Stack::start().await;
        let mut lane = None;
        for _ in 0..3 {
            lane = Some(stack.store("a.com", 10).await.0);
        }
        let room: Vec<_> = room.map(|room| (lane.unwrap(), room)).into_iter().collect();
        let got = stack.reserve(rows, &room).await.unwrap();
        assert_eq!((&*got.status, got.batches.len()), (expect, batches), "{rows} {room:?}");
    };
    check(100, None, "ok", 3).await;
    check(25, None, "ok", 3).await;
    check(20, None, "rest", 2).await;
    check(100, Some(15), "rest", 2).await;
    check(100, Some(0), "ok", 0).await;
    check(0, None, "more", 0).await;

    // A lane that was not looked at, whatever is left of the first.
    let stack = Stack::start().await;
    for host in ["a.com", "a.com", "b.com"] {
        stack.store(host, 10).await;
    }
    let got = stack.reserve(10, &[]).await.unwrap();
    assert_eq!((&*got.status, got.batches.len()), ("more", 1));
}
