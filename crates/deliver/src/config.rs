//! The options of `deliver`: flag > environment > default.

use std::{net::IpAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{Parser, builder::BoolishValueParser};
use ipnet::IpNet;
use postback_core::{
    options::{LogOptions, QueueOptions},
    policy::{MAX_EXPIRES_IN, MAX_RETRIES, MAX_RETRY, MAX_TIMEOUT, parse_duration},
};

/// Takes postbacks from Redis and sends each as one HTTP request.
///
/// Run as many processes as there are cores to spare, on as many boxes as needed: one process uses one core.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    /// Where the queue is
    #[command(flatten)]
    pub queue: QueueOptions,

    /// How it logs
    #[command(flatten)]
    pub log: LogOptions,

    /// Requests in flight in this process
    #[arg(long, env = "DELIVER_CONCURRENCY", default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub concurrency: u32,

    /// Requests in flight to one host
    #[arg(long, env = "DELIVER_PER_HOST", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub per_host: u32,

    /// Waits before each retry, where a request's policy names none; at most 20
    #[arg(long, env = "DELIVER_RETRIES", default_value = "5s,30s,2m,10m,30m,2h,6h")]
    pub retries: Retries,

    /// From the first byte out to the last byte in, where a request's policy names none; at most 60s
    #[arg(long, env = "DELIVER_TIMEOUT", default_value = "10s", value_parser = at_most(MAX_TIMEOUT))]
    pub timeout: Duration,

    /// How long a row may wait for its delivery, where a request's policy says nothing; at most 7d
    #[arg(long, env = "DELIVER_EXPIRES_IN", default_value = "24h", value_parser = at_most(MAX_EXPIRES_IN))]
    pub expires_in: Duration,

    /// How long SIGTERM lets requests in flight go on
    #[arg(long, env = "DELIVER_DRAIN", default_value = "30s", value_parser = parse_duration)]
    pub drain: Duration,

    /// Dead letters kept in the whole fleet, in batches (up to 256 rows each); the oldest beyond it are dropped and counted
    #[arg(long, env = "DELIVER_MAX_DEAD", default_value_t = 100_000)]
    pub max_dead: u64,

    /// How long dead letters are kept; older ones are dropped and counted
    #[arg(long, env = "DELIVER_DEAD_AGE", default_value = "7d", value_parser = parse_duration)]
    pub dead_age: Duration,

    /// Address ranges outside the public ones that may be called, with all their ports, such as 10.1.0.0/16
    #[arg(long, env = "DELIVER_ALLOW_NET", value_delimiter = ',')]
    pub allow_net: Vec<IpNet>,

    /// Keys for `webhook-signature` (Standard Webhooks), one `whsec_…` a line; the first signs first
    #[arg(long, env = "DELIVER_SIGNING_KEY_FILE")]
    pub signing_key_file: Option<PathBuf>,

    /// Root certificates (PEM) to trust beside the system's
    #[arg(long, env = "DELIVER_CA_FILE")]
    pub ca_file: Option<PathBuf>,

    /// The source address of connections, for partners that list ours [default: any]
    #[arg(long, env = "DELIVER_BIND")]
    pub bind: Option<IpAddr>,

    /// Write one JSON line on standard output for each attempt, and for each row that dies without one
    #[arg(long, env = "DELIVER_LOG_DELIVERIES", value_parser = BoolishValueParser::new())]
    pub log_deliveries: bool,

    /// Where /metrics, /healthz and /readyz are served
    #[arg(long, env = "DELIVER_METRICS_LISTEN", default_value = "127.0.0.1:9100")]
    pub metrics_listen: String,
}

/// Reads a duration no longer than `most`.
fn at_most(most: Duration) -> impl Fn(&str) -> Result<Duration, String> + Clone {
    move |text| match parse_duration(text) {
        Ok(duration) if duration <= most => Ok(duration),
        Ok(_) => Err(format!("is longer than {} s", most.as_secs())),
        Err(error) => Err(error.to_string()),
    }
}

/// The waits before each retry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retries(pub Vec<Duration>);

impl FromStr for Retries {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let waits = text.split(',').filter(|wait| !wait.is_empty()).map(at_most(MAX_RETRY));
        let waits = waits.collect::<Result<Vec<_>, _>>()?;
        if waits.len() > MAX_RETRIES {
            return Err(format!("has {} waits; at most {MAX_RETRIES} are allowed", waits.len()));
        }
        Ok(Retries(waits))
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use postback_core::policy::{DEFAULT_EXPIRES_IN, DEFAULT_RETRIES, DEFAULT_TIMEOUT};

    use super::*;

    #[test]
    fn the_defaults_are_the_policy_s() {
        Config::command().debug_assert();
        let config = Config::parse_from(["deliver"]);
        assert_eq!(config.retries.0, DEFAULT_RETRIES);
        assert_eq!((config.timeout, config.expires_in), (DEFAULT_TIMEOUT, DEFAULT_EXPIRES_IN));
    }

    #[test]
    fn retries_are_a_list_of_bounded_waits() {
        let check = |text: &str, expect| assert_eq!(text.parse::<Retries>().ok(), expect, "{text}");
        check("1s,250ms", Some(Retries(vec![Duration::from_secs(1), Duration::from_millis(250)])));
        check("", Some(Retries(vec![])));
        check("25h", None);
        check("1s,x", None);
        check(&["1s"; 21].join(","), None);
    }
}
