//! The options of `deliver`: flag > environment > default.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Parser;
use ipnet::IpNet;
use postback_core::{
    policy::{DEFAULT_EXPIRES_IN, DEFAULT_RETRIES, DEFAULT_TIMEOUT, parse_duration},
    redis::RedisUrl,
};

/// Takes postbacks from Redis and sends each as one HTTP request.
///
/// Run as many processes as there are cores to spare, on as many boxes as needed: one process uses one core.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    /// Where Redis is: redis://, rediss:// or unix:///path
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true
    )]
    pub redis_url: RedisUrl,

    /// What every key in Redis begins with
    #[arg(long, env = "POSTBACK_PREFIX", default_value = "pb")]
    pub redis_prefix: String,

    /// How many sets of keys the fleet uses; the same number everywhere
    #[arg(long, env = "POSTBACK_SHARDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub shards: u16,

    /// Requests in flight in this process
    #[arg(long, env = "DELIVER_CONCURRENCY", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: u32,

    /// Requests in flight to one host
    #[arg(long, env = "DELIVER_PER_HOST", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub per_host: u32,

    /// Waits before each retry, where a request's policy names none; at most 20 [default: 5s,30s,2m,10m,30m,2h,6h]
    #[arg(long, env = "DELIVER_RETRIES", value_delimiter = ',', value_parser = parse_duration)]
    pub retries: Option<Vec<Duration>>,

    /// From the first byte out to the last byte in, where a request's policy names none; at most 60s [default: 10s]
    #[arg(long, env = "DELIVER_TIMEOUT", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// How long a row may wait for its delivery, where a request's policy says nothing; at most 7d [default: 24h]
    #[arg(long, env = "DELIVER_EXPIRES_IN", value_parser = parse_duration)]
    pub expires_in: Option<Duration>,

    /// How long SIGTERM lets requests in flight go on
    #[arg(long, env = "DELIVER_DRAIN", default_value = "30s", value_parser = parse_duration)]
    pub drain: Duration,

    /// Address ranges outside the public ones that may be called, with all their ports, such as 10.1.0.0/16
    #[arg(long, env = "DELIVER_ALLOW_NET", value_delimiter = ',')]
    pub allow_net: Vec<IpNet>,

    /// Root certificates (PEM) to trust beside the system's
    #[arg(long, env = "DELIVER_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// The source address of connections, for partners that list ours [default: any]
    #[arg(long, env = "DELIVER_BIND")]
    pub bind: Option<IpAddr>,

    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "DELIVER_METRICS_LISTEN", default_value = "127.0.0.1:9100")]
    pub metrics_listen: String,
}

impl Config {
    /// The waits before each retry.
    pub fn retries(&self) -> Vec<Duration> {
        self.retries.clone().unwrap_or_else(|| DEFAULT_RETRIES.to_vec())
    }

    /// The time-out of one attempt.
    pub fn timeout(&self) -> Duration {
        self.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The time after which a row is not sent any more.
    pub fn expires_in(&self) -> Duration {
        self.expires_in.unwrap_or(DEFAULT_EXPIRES_IN)
    }
}
