//! What the pages are shown: attempts in the log, rows that wait, dead rows. The same with each run, but for times.

use std::{fmt, time::Duration};

use anyhow::Context;
use fastrand::Rng;
use postback_core::{
    attempt::Cause,
    batch::{Source, encode},
    endpoint::{BodyTemplate, EndpointTemplate, Method, Origin, Unmatched},
    id::{BatchId, LaneId, PostbackId, lane_name},
    policy::Policy,
    queue::{
        Enqueue, Queue, Record, Recorded, Reserve, RowStates, Scan, Sent, Settle, SettledBatch,
        Which, encode_log,
    },
    value::{Row, Value},
};

/// How many hosts there are.
const HOSTS: u64 = 200;
/// Records of a full entry.
const FULL: usize = 256;
const WORKER: &str = "bench";

/// What was filled in, and what the pages' paths are made of.
pub(super) struct Filled {
    /// The postback whose only attempt is the oldest in the log.
    pub(super) id: String,
    pub(super) reference: String,
    pub(super) request_id: String,
    /// A place in the middle of the log.
    pub(super) cursor: String,
    /// A postback that waits, and a dead one.
    pub(super) waiting: String,
    pub(super) dead: String,
    entries: usize,
    log_bytes: u64,
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Filled { entries, log_bytes, .. } = self;
        writeln!(f, "log: {entries} entries, {} KiB in redis", log_bytes / 1024)
    }
}

pub(super) async fn fill(
    queue: &Queue,
    attempts: usize,
    waiting: u64,
    dead: u64,
) -> anyhow::Result<Filled> {
    let shard = &queue.shards()[0];
    shard.beat(WORKER, Which::First, &[]).await?;
    let mut number = 0;
    let dead = fill_dead(queue, dead.max(1), &mut number).await?;
    let (oldest, entries) = fill_log(queue, attempts.max(1), &mut number).await?;
    let waiting = store(queue, waiting.max(1)).await?;
    let half = Scan { most: attempts.div_ceil(2), ..Scan::default() };
    let middle = queue.scan(&half, |_| Some(())).await?.next;
    Ok(Filled {
        id: oldest.id,
        reference: oldest.reference.unwrap_or_default(),
        request_id: oldest.request_id,
        cursor: middle.map(|place| place.to_string()).unwrap_or_default(),
        waiting: waiting.to_string(),
        dead: dead.to_string(),
        entries,
        log_bytes: shard.stats().await?.log_bytes,
    })
}

/// Half of the attempts in full entries as under load, half in entries of one to four as at low traffic, by turns as
/// days and nights are. The oldest of all, and how many entries.
async fn fill_log(
    queue: &Queue,
    attempts: usize,
    number: &mut u64,
) -> anyhow::Result<(Record, usize)> {
    let shard = &queue.shards()[0];
    let now_ms = shard.now_ms().await?;
    let mut random = Rng::with_seed(1);
    let mut oldest = record(&mut random, now_ms);
    (oldest.status, oldest.then) = (418, Recorded::Dead(Cause::Status));
    let (mut written, mut entries, mut is_busy) = (0, 0, false);
    while written < attempts {
        for _ in 0..if is_busy { 40 } else { 4096 } {
            let size = if is_busy { FULL } else { random.usize(1..=4) };
            let size = size.min(attempts - written);
            let mut records: Vec<Record> = (0..size).map(|_| record(&mut random, now_ms)).collect();
            if let Some(first) = records.first_mut().filter(|_| written == 0) {
                *first = oldest.clone();
            }
            settle(queue, &records, vec![], number).await?;
            (written, entries) = (written + size, entries + usize::from(size > 0));
        }
        is_busy = !is_busy;
    }
    Ok((oldest, entries))
}

async fn settle(
    queue: &Queue,
    records: &[Record],
    batches: Vec<SettledBatch>,
    number: &mut u64,
) -> anyhow::Result<()> {
    *number += 1;
    let all: Vec<&Record> = records.iter().collect();
    let failed = |record: &&&Record| record.then != Recorded::Delivered;
    let failures: Vec<&Record> = all.iter().filter(failed).copied().collect();
    let (log, errors) = (encode_log(&all), encode_log(&failures));
    let settle = Settle { number: *number, log, errors, batches, ..Settle::default() };
    queue.shards()[0].settle(WORKER, &settle).await?;
    Ok(())
}

/// An attempt as they are: most delivered, some to be tried again, a few dead.
fn record(random: &mut Rng, now_ms: u64) -> Record {
    let host = random.u64(..HOSTS);
    let origin = Origin { tls: false, host: format!("host-{host}.example"), port: 80 };
    let id = BatchId::new(LaneId::of(&origin, None), random.u64(..)).postback(random.u16(..256));
    let click = format!("{:016x}", random.u64(..));
    let is_post = random.u8(..10) < 3;
    let (status, error, then) = match random.u8(..100) {
        0..85 => (200, None, Recorded::Delivered),
        85..91 => (503, Some("status 503"), Recorded::Retry(now_ms + 30_000)),
        91..96 => (0, Some("no answer within 10s"), Recorded::Retry(now_ms + 30_000)),
        96..98 => (404, Some("status 404"), Recorded::Dead(Cause::Status)),
        _ => (0, Some("connection refused (os error 111)"), Recorded::Dead(Cause::Connect)),
    };
    let words = random.usize(..30);
    let body: String = (0..words).map(|_| format!("{:x} ", random.u32(..))).collect();
    Record {
        id: id.to_string(),
        request_id: format!("{:032x}", random.u128(..)),
        reference: Some(click.clone()),
        host: origin.host_port(),
        method: if is_post { Method::Post } else { Method::Get },
        url: format!(
            "http://{}/postback?click_id={click}&payout={}.{:02}&event=install&country=DE",
            origin.host,
            random.u8(..),
            random.u8(..100)
        ),
        unmatched: if random.u8(..10) == 0 { vec!["sub_id".into()] } else { vec![] },
        accepted_at_ms: now_ms - 1000,
        attempt: 1,
        at_ms: now_ms - 500,
        status,
        error: error.map(str::to_owned),
        response_time_us: random.u64(2000..400_000),
        response_body: if status > 0 { body } else { String::new() },
        truncated: false,
        then,
        received_at_ms: Some(now_ms - 1004),
        nginx_at_ms: Some(now_ms - 1006),
        reserved_at_ms: Some(now_ms - 700),
        traceparent: None,
        sent: is_post.then(|| {
            Box::new(Sent {
                headers: vec![("Content-Type".into(), "application/json".into())],
                body: Some(format!(r#"{{"click_id":"{click}","event":"install"}}"#)),
                truncated: false,
            })
        }),
        settled_at_ms: 0,
    }
}

/// Rows that wait, by turns for all hosts; one of them.
async fn store(queue: &Queue, rows: u64) -> anyhow::Result<PostbackId> {
    let mut random = Rng::with_seed(2);
    let (mut left, mut host, mut last) = (rows, 0, None);
    while left > 0 {
        let some = left.min(FULL as u64);
        let origin = Origin { tls: false, host: format!("host-{host}.example"), port: 80 };
        let name = lane_name(&origin, None);
        let endpoint = EndpointTemplate {
            method: Method::Get,
            url: format!("http://{}/postback?click_id={{click_id}}&event={{event}}", origin.host),
            headers: vec![],
            body: BodyTemplate::None,
            reference: Some("{click_id}".into()),
            unmatched: Unmatched::Text(String::new()),
        };
        let text = |text: String| Value::Text(text.into());
        let rows: Vec<Row<'_>> = (0..some)
            .map(|_| vec![text(format!("{:016x}", random.u64(..))), text("install".into())])
            .collect();
        let source = Source {
            request_id: format!("{:032x}", random.u128(..)),
            traceparent: None,
            received_at_ms: queue.shards()[0].now_ms().await?,
            first_row: 0,
            nginx_ms: Some(2),
        };
        let batches = encode(&endpoint, &Policy::default(), &source, &rows);
        let lane = LaneId::of(&origin, None);
        let request =
            Enqueue { lane, name: &name, delay: Duration::ZERO, batches: &batches, max_backlog: 0 };
        let stored = queue.enqueue(request).await?;
        last = stored.first().map(|stored| stored.id.postback(0));
        (left, host) = (left - some, (host + 1) % HOSTS);
    }
    last.context("nothing was stored")
}

/// Rows that died of their status; one of them.
async fn fill_dead(queue: &Queue, rows: u64, number: &mut u64) -> anyhow::Result<PostbackId> {
    let one = store(queue, rows).await?;
    let shard = &queue.shards()[0];
    loop {
        let ask = Reserve {
            worker: WORKER,
            rows: 20_000,
            batches: 200,
            of_lane: 20_000,
            ..Reserve::default()
        };
        let reserved = shard.reserve(&ask).await?;
        if reserved.batches.is_empty() {
            return Ok(one);
        }
        let batches = reserved.batches.into_iter().map(|batch| {
            let mut states = RowStates::new(batch.rows);
            for row in &mut states.rows {
                (row.attempts, row.status) = (8, 503);
                row.die(Cause::Status, reserved.now_ms);
            }
            SettledBatch { id: batch.id, rows: batch.rows, leave: true, states: Some(states) }
        });
        let batches = batches.collect();
        settle(queue, &[], batches, number).await?;
    }
}
