//! Scenario `end-to-end`: nginx, ingest, Redis and one deliver on this machine, from requests in a closed loop; next to
//! BullMQ, of which whoever adds jobs counts as ingest does.

use std::path::Path;

use super::{
    figures::{Figure, ratio},
    path::at_once,
    rig::{Drained, Load, Parts, Rig},
};
use crate::bullmq;

/// Deliveries a second in BullMQ's, at least; CPU in BullMQ's, at most.
const FASTER: f64 = 8.0;
const CHEAPER: f64 = 1.0 / 8.0;

/// `jobs`: so many of BullMQ's; 0: it is not measured.
pub(super) async fn measure(root: &Path, rows: u64, jobs: u64) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts { front: Some(root), ..Parts::default() }).await?;
    rig.deliver(1, &[]).await?;
    let Drained { used, seconds, rows } = at_once(&rig, Load::of(rows, 100)).await?;
    let cpu = |what: &str, used: f64| {
        Figure::new(format!("{what} CPU, s per 100k"), used / rows * 100_000.0, 3)
    };
    let all = used.nginx + used.ingest + used.redis + used.deliver;
    let mut figures = vec![
        Figure::new("postbacks/s", rows / seconds, 0),
        cpu("nginx", used.nginx),
        cpu("ingest", used.ingest),
        cpu("Redis", used.redis),
        cpu("deliver", used.deliver),
        cpu("all four,", all),
    ];
    rig.stack.delivers.clear();
    if jobs == 0 {
        return Ok(figures);
    }
    if let Some(rival) = bullmq::measure(rig.stack.sink_address(), jobs).await? {
        let (rate, cost) =
            (rival.deliveries_per_second, rival.producer + rival.workers + rival.redis);
        figures.extend([
            Figure::new("BullMQ, deliveries/s", rate, 0),
            Figure::new("BullMQ, producer CPU, s per 100k", rival.producer, 2),
            Figure::new("BullMQ, worker CPU, s per 100k", rival.workers, 2),
            Figure::new("BullMQ, Redis CPU, s per 100k", rival.redis, 2),
            Figure::new("postbacks/s ÷ BullMQ's", rows / seconds / rate, 1).least(FASTER),
            Figure::new("CPU of all four ÷ BullMQ's", ratio(all / rows * 100_000.0, cost), 3)
                .most(CHEAPER),
        ]);
    }
    Ok(figures)
}
