//! What programs used: CPU seconds, bytes of Redis; and what the sink counted.

use anyhow::Context;
use postback_core::testing::RedisServer;

/// What the lean sink counted.
#[derive(Debug, Clone, Copy, Default, serde::Deserialize)]
pub(super) struct Counts {
    pub(super) connections: u64,
    pub(super) requests: u64,
    pub(super) failed: u64,
    pub(super) delayed: u64,
    pub(super) delayed_us: u64,
    pub(super) waits: u64,
    pub(super) p50_us: Option<u64>,
    pub(super) p99_us: Option<u64>,
    pub(super) p999_us: Option<u64>,
}

/// CPU seconds, and bytes of Redis, used so far or since another time.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    pub(super) nginx: f64,
    pub(super) ingest: f64,
    pub(super) redis: f64,
    pub(super) deliver: f64,
    pub(super) sink: f64,
    /// Bytes into Redis and out of it, in its append-only file, in its memory.
    pub(super) net_in: f64,
    pub(super) net_out: f64,
    pub(super) aof: f64,
    pub(super) memory: f64,
    /// Bytes of the delivery log.
    pub(super) log: f64,
}

impl Used {
    /// What was used since then.
    pub(super) fn since(self, before: Used) -> Used {
        Used {
            nginx: self.nginx - before.nginx,
            ingest: self.ingest - before.ingest,
            redis: self.redis - before.redis,
            deliver: self.deliver - before.deliver,
            sink: self.sink - before.sink,
            net_in: self.net_in - before.net_in,
            net_out: self.net_out - before.net_out,
            aof: self.aof - before.aof,
            memory: self.memory - before.memory,
            log: self.log - before.log,
        }
    }

    /// What was used here and there.
    pub(super) fn and(self, other: Used) -> Used {
        self.since(Used::default().since(other))
    }
}

/// The bytes of Redis, as it tells them itself.
pub(super) fn redis_figures(redis: &RedisServer) -> anyhow::Result<Used> {
    let mut connection = redis::Client::open(redis.url_text())?.get_connection()?;
    let info: String = redis::cmd("INFO").query(&mut connection)?;
    let figure =
        |name: &str| info_figure(&info, name).with_context(|| format!("INFO has no {name}"));
    Ok(Used {
        net_in: figure("total_net_input_bytes")?,
        net_out: figure("total_net_output_bytes")?,
        aof: figure("aof_current_size")?,
        memory: figure("used_memory")?,
        ..Used::default()
    })
}

/// A figure of Redis's INFO.
fn info_figure(info: &str, name: &str) -> Option<f64> {
    let line = info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_is_read_by_its_whole_name() {
        let info = "used_memory_rss:7\r\nused_memory:1048576\r\nrole:master\r\n";
        assert_eq!(info_figure(info, "used_memory"), Some(1_048_576.0));
        assert_eq!(info_figure(info, "role"), None);
        assert_eq!(info_figure(info, "memory"), None);
    }

    #[test]
    fn what_was_used_adds_up() {
        let one = Used { redis: 1.5, aof: 10.0, ..Used::default() };
        let two = Used { redis: 0.5, aof: 4.0, ..Used::default() };
        assert_eq!((one.and(two).redis, one.since(two).aof), (2.0, 6.0));
    }
}
