//! Trial `lanes`: how long a `reserve` takes while 10, 1,000 and 100,000 lanes wait.
//!
//! Each lane has one row. What a call takes is given back afterwards, so that the number waiting stays what it is.
//! One series takes one batch a call, the other asks as an idle `deliver` does and gets what 128 lanes have.
//! A call looks at up to 128 lanes whatever it takes: with 10 there is less to look at, so the goal compares
//! 100,000 lanes with 1,000, by Redis's own time, which a busy machine disturbs less than the caller's.

use std::time::Instant;

use anyhow::Context;
use postback_core::{
    endpoint::Origin,
    queue::{Queue, Reserve, Reserved, Settle, SettledBatch, Shard, Which},
    testing::RedisServer,
};

use super::{
    Sizes,
    feed::{Partner, fill},
    measure,
    table::{Figure, digits, millis},
    tell,
};

const WORKER: &str = "isolation";
/// The most lanes that one call serves.
const SERVED: usize = 128;
/// The most batches of one settle.
const SETTLED: usize = 200;

/// How a series asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    One,
    AsDeliver,
}

impl Ask {
    fn words(self) -> &'static str {
        match self {
            Ask::One => "reserve of one batch",
            Ask::AsDeliver => "reserve as deliver asks",
        }
    }

    /// Rows, batches and rows of a lane that are asked for: `deliver`'s with its default options.
    fn bounds(self) -> (usize, usize, usize) {
        match self {
            Ask::One => (1, 1, 1),
            Ask::AsDeliver => (1024, 200, 256),
        }
    }
}

/// What a series of calls took.
struct Series {
    /// Microseconds, sorted, as the caller waits.
    waits: Vec<u64>,
    /// Microseconds of Redis for a call, on average.
    redis_us: f64,
}

/// Measures at each number of lanes.
pub(super) async fn run(sizes: &Sizes) -> anyhow::Result<Vec<Figure>> {
    let mut figures = vec![];
    let mut times = vec![];
    for lanes in [10, sizes.lanes.min(1000), sizes.lanes] {
        let redis = RedisServer::start();
        let queue = Queue::open(&redis.url(), "pb", 1)?;
        let shard = &queue.shards()[0];
        fill_lanes(&queue, lanes).await?;
        shard.beat(WORKER, Which::First, &[]).await?;
        let mut worker = Calls { shard, url: redis.url_text(), settles: 0 };
        let one = worker.series(sizes.calls, lanes, Ask::One).await?;
        let many = worker.series(sizes.calls / 4, lanes, Ask::AsDeliver).await?;
        figures.extend(one.figures(lanes, Ask::One));
        figures.extend(many.figures(lanes, Ask::AsDeliver));
        tell(format_args!(
            "lanes: {lanes} waiting: median {} ms and {} ms",
            millis(one.median()),
            millis(many.median())
        ));
        times.push([one.redis_us, many.redis_us]);
        let left = shard.stats().await?.pending;
        anyhow::ensure!(left == lanes, "{left} of {lanes} rows are left");
    }
    for (n, ask) in [Ask::One, Ask::AsDeliver].into_iter().enumerate() {
        let ratio = times[2][n] / times[1][n].max(1.0);
        let (most, some) = (sizes.lanes, sizes.lanes.min(1000));
        let what = format!("{}: redis with {most} / {some} lanes", ask.words());
        figures.push(Figure::new(what, digits(ratio, 2), "").goal("<= 1.25", ratio <= 1.25));
    }
    Ok(figures)
}

async fn fill_lanes(queue: &Queue, lanes: u64) -> anyhow::Result<()> {
    let origin = Origin { tls: false, host: "127.0.0.1".into(), port: 1 };
    let partner = |n| Partner::of(&origin, Some(&format!("lane {n}")), "/never");
    fill(queue, &(0..lanes).map(partner).collect::<Vec<_>>(), 1, 1).await?;
    let queued = queue.shards()[0].stats().await?.pending;
    anyhow::ensure!(queued == lanes, "{queued} of {lanes} rows are queued");
    Ok(())
}

impl Series {
    fn wait(&self, mille: usize) -> u64 {
        measure::per_mille(&self.waits, self.waits.len(), mille).unwrap_or_default()
    }

    fn median(&self) -> u64 {
        self.wait(500)
    }

    fn figures(&self, lanes: u64, ask: Ask) -> Vec<Figure> {
        let what = |what: &str| format!("{}, {lanes} lanes: {what}", ask.words());
        vec![
            Figure::new(what("median"), millis(self.median()), "ms"),
            Figure::new(what("p99"), millis(self.wait(990)), "ms"),
            Figure::new(what("redis, average"), digits(self.redis_us, 0), "us of CPU"),
        ]
    }
}

/// A worker that reserves and gives back.
struct Calls<'a> {
    shard: &'a Shard,
    url: String,
    settles: u64,
}

impl Calls<'_> {
    async fn series(&mut self, calls: usize, lanes: u64, ask: Ask) -> anyhow::Result<Series> {
        let mut redis = redis::Client::open(self.url.clone())?.get_connection()?;
        let (mut waits, mut used) = (vec![], 0);
        while waits.len() < calls {
            let before = script_us(&mut redis)?;
            let (wait, brought) = self.reserve(lanes, ask).await?;
            used += script_us(&mut redis)? - before;
            waits.push(wait);
            self.give_back(brought).await?;
        }
        waits.sort_unstable();
        Ok(Series { redis_us: used as f64 / waits.len().max(1) as f64, waits })
    }

    async fn reserve(&self, lanes: u64, ask: Ask) -> anyhow::Result<(u64, Vec<Reserved>)> {
        let (rows, batches, of_lane) = ask.bounds();
        let request = Reserve {
            worker: WORKER,
            rows,
            batches,
            held: 0,
            of_lane,
            wants: &[],
            only: false,
            room: &[],
        };
        let start = Instant::now();
        let got = self.shard.reserve(&request).await?;
        let wait = u64::try_from(start.elapsed().as_micros())?;
        let enough = batches.min(SERVED).min(usize::try_from(lanes)?);
        let (status, came) = (got.status, got.batches.len());
        let is_ok = ["ok", "more", "rest"].contains(&&*status);
        anyhow::ensure!(is_ok && came == enough, "reserve: {status}, {came} batches");
        Ok((wait, got.batches))
    }

    async fn give_back(&mut self, taken: Vec<Reserved>) -> anyhow::Result<()> {
        for some in taken.chunks(SETTLED) {
            self.settles += 1;
            let leave =
                |b: &Reserved| SettledBatch { id: b.id, rows: b.rows, leave: true, states: None };
            let batches = some.iter().map(leave).collect();
            let settle = Settle { number: self.settles, batches, ..Settle::default() };
            anyhow::ensure!(self.shard.settle(WORKER, &settle).await?, "the lease was lost");
        }
        // The lease is 30 s; a series on a busy machine may take longer.
        if self.settles.is_multiple_of(100) {
            self.shard.beat(WORKER, Which::Next, &[]).await?;
        }
        Ok(())
    }
}

/// Microseconds that Redis has spent in scripts since it started.
fn script_us(redis: &mut redis::Connection) -> anyhow::Result<u64> {
    let text: String = redis::cmd("INFO").arg("commandstats").query(redis)?;
    let line = text.lines().find_map(|line| line.strip_prefix("cmdstat_evalsha:"));
    let usec = line.and_then(|line| line.split(',').find_map(|part| part.strip_prefix("usec=")));
    usec.and_then(|usec| usec.parse().ok()).context("redis tells no time of its scripts")
}
