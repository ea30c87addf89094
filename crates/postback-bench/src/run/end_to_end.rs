//! Scenario `end-to-end`: nginx, ingest, Redis and one deliver on this machine, from requests in a closed loop.

use std::path::Path;

use super::{
    figures::Figure,
    path::at_once,
    rig::{Drained, Load, Parts, Rig},
};

pub(super) async fn measure(root: &Path, rows: u64) -> anyhow::Result<Vec<Figure>> {
    let mut rig = Rig::start(Parts { front: Some(root), ..Parts::default() }).await?;
    rig.deliver(1, &[]).await?;
    let Drained { used, seconds, rows } = at_once(&rig, Load::of(rows, 100)).await?;
    let cpu = |what: &str, used: f64| {
        Figure::new(format!("{what} CPU, s per 100k"), used / rows * 100_000.0, 3)
    };
    Ok(vec![
        Figure::new("postbacks/s", rows / seconds, 0),
        cpu("nginx", used.nginx),
        cpu("ingest", used.ingest),
        cpu("Redis", used.redis),
        cpu("deliver", used.deliver),
        cpu("all four,", used.nginx + used.ingest + used.redis + used.deliver),
    ])
}
