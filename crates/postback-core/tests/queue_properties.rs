//! After any sequence of operations, crashes of workers included, every batch is in exactly one place, every
//! row in exactly one state, and the counters are equal to the contents. Against a real Redis.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use postback_core::{
    attempt::Cause,
    batch::{self, Source},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::{BatchId, LaneId},
    policy::Policy,
    queue::{
        Beat, Enqueue, LaneChange, Once, Placed, Queue, QueueError, Reserve, Revised, Revision,
        RowState, RowStates, Settle, SettledBatch, Shard, State, Stored, Want, Which,
    },
    testing::RedisServer,
    value::Value,
};

/// Numbers as a seed gives them (xorshift64*), so that a failing sequence can be run again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % sides
    }
}

#[derive(Default)]
struct Worker {
    name: String,
    number: u64,
    held: BTreeMap<BatchId, RowStates>,
}

struct World {
    queue: Queue,
    redis: redis::Connection,
    prefix: String,
    dice: Dice,
    workers: Vec<Worker>,
    accepted: u64,
    logged: u64,
}

fn template() -> EndpointTemplate {
    EndpointTemplate {
        method: Method::Get,
        url: "http://a.com/?k={k}".into(),
        headers: vec![],
        body: BodyTemplate::None,
        reference: None,
        unmatched: Unmatched::Text(String::new()),
    }
}

impl World {
    fn shard(&self) -> Shard {
        self.queue.shards()[0].clone()
    }

    fn key(&self, name: &str) -> String {
        format!("{}:{{0}}:{name}", self.prefix)
    }

    fn ask<T: redis::FromRedisValue>(&mut self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        let key = self.key(words[1]);
        command.arg(key).arg(&words[2..]);
        command.query(&mut self.redis).unwrap()
    }

    async fn enqueue(&mut self) {
        let rows = 1 + self.dice.roll(6);
        let lane_number = self.dice.roll(4);
        let origin = Origin { tls: false, host: format!("h{lane_number}.com"), port: 80 };
        let source = Source {
            request_id: "r".into(),
            traceparent: None,
            received_at_ms: 0,
            first_row: 0,
            nginx_ms: None,
        };
        let values: Vec<_> = (0..rows).map(|i| vec![Value::Text(i.to_string().into())]).collect();
        let batches = batch::encode(&template(), &Policy::default(), &source, &values);
        let delay = Duration::from_millis(if self.dice.roll(3) == 0 { 40 } else { 0 });
        let request = Enqueue {
            lane: LaneId::of(&origin, None),
            name: "http://h:80",
            delay,
            batches: &batches,
            max_backlog: 1 << 30,
        };
        // A key that came before with as many rows changes nothing, with another number it is refused.
        let key = [self.dice.roll(12) as u8];
        let ttl = Duration::from_millis(60);
        let once = Once::new(&key, b"", &[rows as u8], Vec::new(), ttl);
        let once = Some(&once).filter(|_| self.dice.roll(2) == 0);
        match self.queue.store_once(&request, once).await {
            Ok(Stored::Now(_)) => self.accepted += rows,
            Ok(Stored::Before(..)) | Err(QueueError::OtherBody) if once.is_some() => {}
            other => panic!("{other:?}"),
        }
    }

    async fn start_worker(&mut self) {
        let name = format!("w{}", self.dice.roll(u64::MAX));
        let worker = Worker { name: name.clone(), ..Worker::default() };
        let beat = self.shard().beat(&name, Which::First, &[]).await.unwrap();
        assert!(matches!(beat, Beat::Alive { held: 0, .. }));
        self.workers.push(worker);
    }

    async fn reserve(&mut self, worker: usize) {
        let lanes: Vec<String> = self.ask(&["HKEYS", "names"]);
        let lanes: Vec<LaneId> = lanes.iter().take(2).map(|lane| lane.parse().unwrap()).collect();
        let wants: Vec<Want> =
            lanes.iter().map(|lane| Want { lane: *lane, rows: 3, ended_ms: 0.0 }).collect();
        let room: Vec<(LaneId, usize)> = lanes.iter().map(|lane| (*lane, 3)).collect();
        let ask = Reserve {
            worker: &self.workers[worker].name.clone(),
            rows: 1 + self.dice.roll(12) as usize,
            batches: 1 + self.dice.roll(5) as usize,
            held: self.workers[worker].held.len(),
            of_lane: 1 + self.dice.roll(12) as usize,
            wants: &wants,
            only: self.dice.roll(8) == 0,
            room: &room,
        };
        let got = self.shard().reserve(&ask).await.unwrap();
        assert_eq!(got.slots.len(), wants.len());
        for batch in got.batches {
            let states = batch.states.unwrap();
            assert!(
                states.count(RowState::is_pending) > 0,
                "a batch without pending rows was served"
            );
            assert!(self.workers[worker].held.insert(batch.id, states).is_none());
        }
    }

    /// Some rows of some held batches get outcomes; some batches leave.
    async fn settle(&mut self, worker: usize) {
        let mut settle = Settle { log: vec![1], ..Settle::default() };
        self.logged += 1;
        let mut held = std::mem::take(&mut self.workers[worker].held);
        for (id, states) in &mut held {
            if self.dice.roll(4) == 0 {
                continue;
            }
            for row in states.rows.iter_mut().filter(|row| row.is_pending()) {
                row.state = match self.dice.roll(8) {
                    0..4 => State::Delivered,
                    4 => State::Dead(Cause::Status),
                    5 => State::Waiting(1 + self.dice.roll(40)),
                    _ => continue,
                };
                row.since_ms = self.dice.roll(3) * 1000;
                row.attempts += 1;
            }
            states.crashes = 0;
            let leave = self.dice.roll(2) == 0 || states.count(RowState::is_pending) == 0;
            let rows = states.rows.len() as u16;
            settle.batches.push(SettledBatch {
                id: *id,
                rows,
                leave,
                states: Some(states.clone()),
            });
        }
        if self.dice.roll(5) == 0 {
            let lane = settle.batches.first().map(|b| b.id.lane());
            settle.lanes.extend(lane.map(|lane| match self.dice.roll(3) {
                0 => LaneChange::Refund(lane, 1.0, 2.0),
                1 => LaneChange::Park(lane, Duration::from_millis(20), "test".into()),
                _ => LaneChange::Open(lane),
            }));
        }
        for gone in settle.batches.iter().filter(|b| b.leave) {
            held.remove(&gone.id);
        }
        let now = self.shard().now_ms().await.unwrap();
        for row in held.values_mut().flat_map(|states| &mut states.rows) {
            if let State::Waiting(wait) = row.state {
                row.state = State::Pending(now + wait);
            }
        }
        self.workers[worker].held = held;
        self.workers[worker].number += 1;
        settle.number = self.workers[worker].number;
        let name = self.workers[worker].name.clone();
        let times = 1 + self.dice.roll(2); // an unanswered settle is repeated
        for _ in 0..times {
            assert!(self.shard().settle(&name, &settle).await.unwrap());
        }
    }

    /// The worker is gone; another's beat takes its batches back.
    async fn crash(&mut self, worker: usize) {
        let gone = self.workers.remove(worker);
        let _: () = self.ask(&["ZADD", "workers", "1", &gone.name]);
        self.start_worker().await;
        let late = Settle { number: gone.number + 1, ..Settle::default() };
        assert!(!self.shard().settle(&gone.name, &late).await.unwrap(), "a late settle was taken");
        assert_eq!(self.shard().beat(&gone.name, Which::Next, &[]).await.unwrap(), Beat::Lost);
    }

    async fn revise(&mut self) {
        let revision =
            [Revision::Replay, Revision::Drop, Revision::Cancel][self.dice.roll(3) as usize];
        let dead = self.shard().dead(0).await.unwrap().into_iter().map(|dead| dead.id);
        let waiting = self.shard().waiting().await.unwrap();
        let held = self.workers.iter().flat_map(|worker| worker.held.keys().copied());
        assert_eq!(waiting.held.iter().copied().collect::<BTreeSet<_>>(), held.collect());
        let unplaced = dead.chain(waiting.held).map(|id| Placed { id, depth: 0, from_tail: true });
        let mut batches: Vec<Placed> = unplaced.collect();
        batches.extend(waiting.placed);
        let mut seen = BTreeSet::new();
        batches.retain(|batch| seen.insert(batch.id)); // some rows may be dead, others wait
        let first = self.dice.roll(1 + batches.len() as u64) as usize;
        batches.drain(..first);
        batches.truncate(3);
        let every = 1 + self.dice.roll(3) as u16;
        let chosen: Vec<u16> = (0..256).filter(|row| row % every == 0).collect();
        let revised = self.shard().revise(&batches, revision, |_| chosen.clone()).await.unwrap();
        for (batch, revised) in batches.iter().zip(revised) {
            let held = self.workers.iter().any(|w| w.held.contains_key(&batch.id));
            assert!(
                !held || matches!(revised, Revised::Busy | Revised::Done(0)),
                "a held batch was revised"
            );
            assert!(held || revised != Revised::Busy, "a batch that nobody holds was passed over");
        }
    }

    /// Some of the oldest dead rows are dropped.
    async fn trim(&mut self) {
        let before = self.shard().dead(0).await.unwrap().len() as u64;
        let most = self.dice.roll(before + 2);
        self.shard().trim_dead(most, Duration::from_secs(3600)).await.unwrap();
        let left: Vec<BatchId> =
            self.shard().dead(0).await.unwrap().into_iter().map(|dead| dead.id).collect();
        let held = left.iter().filter(|id| self.workers.iter().any(|w| w.held.contains_key(id)));
        assert!(
            left.len() as u64 == before.min(most) || held.count() > 0,
            "{before} batches with dead rows, {} after a trim to {most}",
            left.len()
        );
    }

    /// A lane gets a rate, is paused, or loses its limit.
    async fn limit(&mut self) {
        let lanes: Vec<String> = self.ask(&["HKEYS", "names"]);
        let Some(lane) = lanes.first() else { return };
        let rate = [None, None, Some(0.0), Some(50.0), Some(f64::NAN), Some(1e-300)]
            [self.dice.roll(6) as usize];
        let lane = [(lane.parse().unwrap(), "http://h:80".to_owned())];
        self.shard().limit(&lane, rate).await.unwrap();
    }

    async fn step(&mut self) {
        if self.workers.is_empty() {
            self.start_worker().await;
        }
        let worker = self.dice.roll(self.workers.len() as u64) as usize;
        match self.dice.roll(20) {
            0..6 => self.enqueue().await,
            6..11 => self.reserve(worker).await,
            11..16 => self.settle(worker).await,
            16 => self.revise().await,
            17 => self.crash(worker).await,
            18 if self.dice.roll(3) == 0 => self.trim().await,
            18 if self.dice.roll(2) == 0 => self.limit().await,
            18 if self.workers.len() < 4 => self.start_worker().await,
            _ => {
                let name = self.workers[worker].name.clone();
                let beat = self.shard().beat(&name, Which::Next, &[]).await.unwrap();
                let held = self.workers[worker].held.len();
                assert!(
                    matches!(beat, Beat::Alive { held: h, .. } if h == held),
                    "{beat:?}, not {held}"
                );
            }
        }
    }

    /// How often each batch stands in a place.
    fn places(&mut self) -> BTreeMap<String, u32> {
        let mut places = BTreeMap::new();
        let mut ids: Vec<String> = self.ask(&["ZRANGE", "due", "0", "-1"]);
        let lanes: Vec<String> = self.ask(&["HKEYS", "names"]);
        for lane in &lanes {
            let ready: Vec<String> = self.ask(&["LRANGE", &format!("lane:{lane}"), "0", "-1"]);
            let listed: Option<f64> = self.ask(&["ZSCORE", "lanes", lane]);
            assert!(
                ready.is_empty() || listed.is_some(),
                "lane {lane} has batches but is not served"
            );
            ids.extend(ready);
        }
        let workers: Vec<String> = self.ask(&["ZRANGE", "workers", "0", "-1"]);
        for worker in workers {
            ids.extend::<Vec<String>>(self.ask(&["SMEMBERS", &format!("held:{worker}")]));
        }
        for id in ids {
            *places.entry(id).or_default() += 1;
        }
        places
    }

    async fn check(&mut self, step: u32) {
        let places = self.places();
        let start = self.key("batch:");
        let keys: Vec<String> =
            redis::cmd("KEYS").arg(format!("{start}*")).query(&mut self.redis).unwrap();
        let stored: BTreeSet<&str> = keys.iter().map(|key| &key[start.len()..]).collect();
        let (mut pending, mut dead, mut bytes) = (0, 0, 0);
        let dead_index: BTreeSet<String> = self.ask(&["ZRANGE", "dead", "0", "-1"]);
        for id in &stored {
            let batch = self.shard().batch(id.parse().unwrap()).await.unwrap().unwrap();
            let states = batch.states.expect("states that can be read");
            let waits = states.count(RowState::is_pending);
            let died = states.count(|row| matches!(row.state, State::Dead(_)));
            assert_eq!(
                u32::from(waits > 0),
                *places.get(*id).unwrap_or(&0),
                "step {step}: places of {id}, {waits} pending"
            );
            assert_eq!(died > 0, dead_index.contains(*id), "step {step}: {id} in the dead index");
            assert!(waits + died > 0, "step {step}: {id} should have been deleted");
            pending += waits as u64;
            dead += died as u64;
            bytes += self.ask::<u64>(&["STRLEN", &format!("batch:{id}")]);
            bytes += self.ask::<u64>(&["STRLEN", &format!("rows:{id}")]);
        }
        for key in self.ask::<Vec<String>>(&["ZRANGE", "idems", "0", "-1"]) {
            bytes += self.ask::<u64>(&["STRLEN", &format!("idem:{key}")]) + 280;
        }
        assert!(
            places.keys().all(|id| stored.contains(id.as_str())),
            "step {step}: a place without a batch"
        );
        assert_eq!(
            self.ask::<u64>(&["XLEN", "log"]),
            self.logged,
            "step {step}: a repeated settle was logged"
        );
        let stats = self.shard().stats().await.unwrap();
        assert_eq!(
            (stats.pending, stats.dead, stats.bytes, stats.accepted),
            (pending, dead, bytes, self.accepted),
            "step {step}: counters"
        );
        assert_eq!(
            stats.accepted,
            stats.pending + stats.delivered + stats.dead + stats.dropped,
            "step {step}"
        );
    }
}

async fn run(server: &RedisServer, seed: u64, steps: u32) {
    let prefix = format!("s{seed}");
    let queue = Queue::open(&server.url(), &prefix, 1).unwrap();
    let redis = redis::Client::open(server.url_text()).unwrap().get_connection().unwrap();
    let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut world = World { queue, redis, prefix, dice, workers: vec![], accepted: 0, logged: 0 };
    for step in 0..steps {
        world.step().await;
        world.check(step).await;
    }
}

#[tokio::test]
async fn every_batch_is_in_one_place_and_every_row_in_one_state() {
    let server = RedisServer::start();
    let seeds = match std::env::var("POSTBACK_TEST_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (1..=12).collect(),
    };
    for seed in seeds {
        println!("seed {seed}; run it alone with POSTBACK_TEST_SEED={seed}");
        run(&server, seed, 250).await;
    }
}
