//! The options of `ingest`: flag > environment > default.

use std::{
    fmt,
    net::{SocketAddr, ToSocketAddrs},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use clap::{CommandFactory, Parser, error::ErrorKind};
use postback_core::{
    options::{LogOptions, QueueOptions},
    policy::{parse_duration, parse_size},
};

pub use crate::{client::TrustedProxies, nginx::NginxStatus, throttle::ClientRate};

use crate::coalesce;

/// Takes requests over HTTP and answers as soon as Redis has their rows.
#[derive(Debug, Clone, Parser)]
#[command(version)]
pub struct Config {
    /// Where the queue is
    #[command(flatten)]
    pub queue: QueueOptions,

    /// How it logs
    #[command(flatten)]
    pub log: LogOptions,

    /// Where requests are taken: host:port, or unix:/path (a socket file that its group may use)
    #[arg(long, env = "INGEST_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: Listen,

    /// Where the pages, /metrics, /healthz and /readyz are served; other than a loopback address or unix:/path only with a token
    #[arg(long, env = "INGEST_ADMIN_LISTEN", default_value = "127.0.0.1:8081")]
    pub admin_listen: Listen,

    /// File of the tokens of which a request must bring one (Authorization: Bearer …), one a line; read again on SIGHUP
    #[arg(long, env = "INGEST_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,

    /// File of the tokens for --admin-listen, likewise
    #[arg(long, env = "INGEST_ADMIN_TOKEN_FILE")]
    pub admin_token_file: Option<PathBuf>,

    /// Proxies whose X-Forwarded-For and X-Request-Start are believed, such as 10.1.0.0/16, or none; unix sockets always are
    #[arg(long, env = "INGEST_TRUST_PROXY", default_value = "127.0.0.0/8,::1/128")]
    pub trust_proxy: TrustedProxies,

    /// The most requests from one client, such as 1000/s or 30/m, or none for no limit; the box's own have none
    #[arg(long, env = "INGEST_CLIENT_RATE", default_value = "1000/s")]
    pub client_rate: ClientRate,

    /// The longest request body, such as 8MiB
    #[arg(long, env = "INGEST_MAX_BODY", default_value = "8MiB", value_parser = parse_size)]
    pub max_body: u64,

    /// The most rows in a request
    #[arg(long, env = "INGEST_MAX_ROWS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_rows: u32,

    /// The most that may wait in Redis, such as 1GiB; beyond it requests get 503; 0: no bound
    #[arg(long, env = "INGEST_MAX_BACKLOG", default_value = "1GiB", value_parser = parse_size)]
    pub max_backlog: u64,

    /// How long the answer to a request with an Idempotency-Key is kept, such as 24h
    #[arg(long, env = "INGEST_IDEMPOTENCY_TTL", default_value = "24h", value_parser = idempotency_ttl)]
    pub idempotency_ttl: Duration,

    /// Names whose values the pages do not show: of query parameters, headers, fields of bodies; Authorization never is
    #[arg(long, env = "INGEST_REDACT", value_delimiter = ',')]
    pub redact: Vec<String>,

    /// What a placeholder without a value becomes, where neither it nor the request says
    #[arg(long, env = "INGEST_UNMATCHED", default_value = "")]
    pub unmatched: String,

    /// Let small requests to the same endpoint share a batch; a time: the longest that one waits for others
    #[arg(long, env = "INGEST_COALESCE", default_value = "on", num_args = 0..=1, default_missing_value = "on", value_name = "on|off|TIME", value_parser = coalesce::window)]
    pub coalesce: Duration,

    /// This box's nginx, whose connections are shown: its stub_status page, such as http://127.0.0.1:8000/nginx_status
    #[arg(long, env = "INGEST_NGINX_STATUS")]
    pub nginx_status: Option<NginxStatus>,
}

/// A key forgotten at once would be no key; what is kept for ever fills Redis.
fn idempotency_ttl(text: &str) -> Result<Duration, String> {
    let ttl = parse_duration(text).map_err(|error| error.to_string())?;
    let fits = (Duration::from_secs(1)..=Duration::from_secs(7 * 24 * 3600)).contains(&ttl);
    if fits { Ok(ttl) } else { Err("must be from 1s to 7d".to_owned()) }
}

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP: what was asked for, and the addresses that it stands for.
    Tcp(String, Vec<SocketAddr>),
    /// A unix socket's file.
    Unix(PathBuf),
}

impl Config {
    /// The options of this process. Ends it with exit code 2 when they are wrong.
    pub fn read() -> Config {
        let config = Config::parse();
        if let Err(why) = config.check() {
            Config::command().error(ErrorKind::ArgumentConflict, why).exit()
        }
        config
    }

    /// What must hold between options.
    fn check(&self) -> Result<(), String> {
        match &self.admin_listen {
            listen if listen.is_private() || self.admin_token_file.is_some() => Ok(()),
            listen => Err(format!(
                "--admin-listen {listen} can be reached from other boxes: set --admin-token-file, or use a loopback \
                 address or unix:/path"
            )),
        }
    }
}

impl Listen {
    /// Whether no other box can reach it.
    fn is_private(&self) -> bool {
        match self {
            Listen::Tcp(_, addresses) => addresses.iter().all(|a| a.ip().is_loopback()),
            Listen::Unix(_) => true,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => return Ok(Listen::Unix(path.into())),
            Some(_) => return Err("the path after unix: must be absolute".into()),
            None => {}
        }
        match text.to_socket_addrs() {
            Ok(addresses) => Ok(Listen::Tcp(text.into(), addresses.collect())),
            Err(error) => Err(format!("must be host:port or unix:/path: {error}")),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Tcp(text, _) => f.write_str(text),
            Listen::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_options_are_consistent() {
        Config::command().debug_assert();
    }

    #[test]
    fn an_address_is_host_and_port_or_a_socket_file() {
        let check =
            |text: &str, good: bool| assert_eq!(text.parse::<Listen>().is_ok(), good, "{text}");
        for text in ["127.0.0.1:0", "[::1]:80", "0.0.0.0:80", "unix:/run/x.sock"] {
            check(text, true);
        }
        for text in ["", "80", "127.0.0.1", "127.0.0.1:99999", "unix:x", "unix:", "/run/x.sock"] {
            check(text, false);
        }
    }

    #[test]
    fn the_admin_address_is_private_or_has_a_token() {
        let check = |text: &str, good: bool| {
            let options = ["ingest", "--admin-listen", text];
            let checked = Config::parse_from(options).check();
            assert_eq!(checked.is_ok(), good, "{text}");
            assert!(
                checked
                    .err()
                    .is_none_or(|why| why.contains(text) && why.contains("--admin-token-file"))
            );
            let token = ["--admin-token-file", "/x"];
            assert_eq!(Config::parse_from(options.iter().chain(&token)).check(), Ok(()), "{text}");
        };
        for text in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/run/x.sock"] {
            check(text, true);
        }
        for text in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "198.51.100.1:1"] {
            check(text, false);
        }
    }
}
