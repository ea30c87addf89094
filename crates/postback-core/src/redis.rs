//! The connection to Redis: opened when needed, bounded in time, never resending by itself.
//!
//! Which keys and scripts there are is not known here (`queue`).

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::pin,
    str::FromStr,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, FromRedisValue, IntoConnectionInfo, RedisError,
    Script, aio::MultiplexedConnection,
};
use thiserror::Error;
use tokio::{sync::Mutex, time::Instant};

mod trips;
mod trouble;

pub use self::{
    trips::{Trip, Trips},
    trouble::Trouble,
};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_millis(900);
/// How long a reply may take. A settle of 256 rows takes about 1 ms; an AOF fsync may stall Redis for longer.
const REPLY: Duration = Duration::from_millis(900);
/// For so long after a failed connect no other is tried.
const PAUSE: Duration = Duration::from_millis(200);
/// After these a new connection is opened: it names its password anew, and may lead to another server.
const RECONNECT: [&str; 2] = ["NOAUTH", "READONLY"];

/// Where Redis is. Shows no password in `Debug` and `Display`.
#[derive(Clone)]
pub struct RedisUrl(redis::ConnectionInfo);

/// Why a command brought no result.
#[derive(Debug, Clone, Error)]
pub enum RedisFailure {
    /// Not connected; nothing was sent.
    #[error("cannot reach redis at {0}: {1}")]
    Away(String, String),
    /// Redis did not answer in time what was asked before; nothing was sent.
    #[error("redis does not answer")]
    Unanswered,
    /// The connection had been closed before anything was sent; the next call opens another.
    #[error("redis at {0} closed the connection")]
    Closed(String),
    /// Redis refused it; nothing was done. Begins with Redis's word for it, such as `OOM`.
    #[error("redis refused: {0}")]
    Refused(String),
    /// Redis failed at it; whether it was done is not known: a script may have been half done.
    #[error("redis failed: {0}")]
    Failed(String),
    /// No answer came; whether it was done is not known.
    #[error("redis's answer was lost: {0}")]
    Lost(String),
}

/// What Redis says before a command or a script has begun, and `OOM` before a script's first write.
const SURE: [&str; 14] = [
    "OOM",
    "READONLY",
    "LOADING",
    "MISCONF",
    "NOREPLICAS",
    "MASTERDOWN",
    "BUSY",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "NOSCRIPT",
    "CLUSTERDOWN",
    "MOVED",
    "ASK",
];

impl RedisFailure {
    /// One word for the reason: Redis's own, or `away`.
    pub fn kind(&self) -> &str {
        match self {
            RedisFailure::Refused(text) | RedisFailure::Failed(text) => {
                text.split(' ').next().unwrap_or_default()
            }
            _ => "away",
        }
    }
}

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let scheme = text.split_once("://").map_or("", |(scheme, _)| scheme);
        if !["redis", "rediss", "unix"].contains(&scheme) {
            return Err("its scheme must be redis://, rediss:// or unix://".to_owned());
        }
        let info = text.into_connection_info().map_err(|error| error.to_string())?;
        let tcp = info.tcp_settings().clone().set_nodelay(true);
        Ok(RedisUrl(info.set_tcp_settings(tcp)))
    }
}

impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.addr())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// One connection, opened anew after a failure.
pub struct Link {
    url: RedisUrl,
    client: Client,
    trips: Arc<Trips>,
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    connection: Option<MultiplexedConnection>,
    generation: u64,
    failed: Option<(Instant, RedisFailure)>,
}

impl Link {
    /// A link that is not yet connected, and counts what it does in `trips`.
    ///
    /// # Errors
    /// When the URL needs what this build does not have.
    pub fn new(url: RedisUrl, trips: Arc<Trips>) -> Result<Link, RedisFailure> {
        let client =
            Client::open(url.0.clone()).map_err(|e| RedisFailure::Refused(e.to_string()))?;
        Ok(Link { url, client, trips, state: Mutex::default() })
    }

    /// Which connection is open, counted from 1; opens one when there is none.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses.
    pub async fn number(&self) -> Result<u64, RedisFailure> {
        Ok(self.connection().await?.1)
    }

    /// Runs a command.
    ///
    /// # Errors
    /// See [`RedisFailure`]; never sends twice.
    pub async fn run<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, RedisFailure> {
        self.ask(Trip::Command, command).await
    }

    /// Runs several commands in one write.
    ///
    /// # Errors
    /// As [`Link::run`].
    pub async fn run_all<T: FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<T, RedisFailure> {
        let ask =
            async |connection: &mut MultiplexedConnection| commands.query_async(connection).await;
        self.send(Trip::Command, ask).await
    }

    async fn ask<T: FromRedisValue>(
        &self,
        kind: Trip,
        command: &redis::Cmd,
    ) -> Result<T, RedisFailure> {
        self.send(kind, async |connection| command.query_async(connection).await).await
    }

    /// Runs a script on the slot of `key`, loading it where Redis does not have it.
    ///
    /// # Errors
    /// As [`Link::run`].
    pub async fn script<T: FromRedisValue>(
        &self,
        (kind, script): &(Trip, Script),
        key: &str,
        fill: impl FnOnce(&mut redis::Cmd),
    ) -> Result<T, RedisFailure> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(1).arg(key);
        fill(&mut command);
        let answer = self.ask(*kind, &command).await;
        if !matches!(&answer, Err(failure) if failure.kind() == "NOSCRIPT") {
            return answer;
        }
        // Nothing was done, so what follows is the first sending; and loading does nothing, answered or not.
        let load = async |connection: &mut MultiplexedConnection| {
            script.prepare_invoke().load_async(connection).await
        };
        self.send(Trip::Command, load).await.map_err(|failure| match failure {
            RedisFailure::Lost(text) => RedisFailure::Away(self.url.to_string(), text),
            other => other,
        })?;
        self.ask(*kind, &command).await
    }

    /// Subscribes to channels on a connection of its own.
    ///
    /// # Errors
    /// When Redis cannot be reached or refuses.
    pub async fn subscribe(&self, channels: &[String]) -> Result<redis::aio::PubSub, RedisFailure> {
        let subscribe = async {
            let mut listener = self.client.get_async_pubsub().await?;
            listener.subscribe(channels).await?;
            Ok::<_, RedisError>(listener)
        };
        let away = |text: String| RedisFailure::Away(self.url.to_string(), text);
        tokio::time::timeout(CONNECT, subscribe)
            .await
            .map_err(|_| away("timed out".into()))?
            .map_err(|error| away(error.to_string()))
    }

    async fn connection(&self) -> Result<(MultiplexedConnection, u64), RedisFailure> {
        let mut state = self.state.lock().await;
        if let Some(connection) = &state.connection {
            return Ok((connection.clone(), state.generation));
        }
        if let Some((_, failure)) = state.failed.as_ref().filter(|(at, _)| at.elapsed() < PAUSE) {
            return Err(failure.clone());
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(REPLY));
        match self.client.get_multiplexed_async_connection_with_config(&config).await {
            Ok(connection) => {
                state.generation += 1;
                state.failed = None;
                state.connection = Some(connection.clone());
                Ok((connection, state.generation))
            }
            Err(error) => {
                let failure = refusal(&error)
                    .unwrap_or_else(|| RedisFailure::Away(self.url.to_string(), error.to_string()));
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    /// Sends something, waits for the answer, and counts it.
    async fn send<T>(
        &self,
        kind: Trip,
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, RedisFailure> {
        let answer = async {
            let connected = self.connection().await?;
            let asked = Instant::now();
            let answer = self.exchange(connected, ask).await;
            self.trips.took(kind, asked.elapsed().as_secs_f64());
            answer
        };
        answer.await.inspect_err(|failure| self.trips.failed(kind, failure))
    }

    async fn exchange<T>(
        &self,
        (mut connection, number): (MultiplexedConnection, u64),
        ask: impl AsyncFnOnce(&mut MultiplexedConnection) -> Result<T, RedisError>,
    ) -> Result<T, RedisFailure> {
        let mut asking = pin!(ask(&mut connection));
        // redis-rs tells a connection that was closed before from one that breaks now by nothing but this: the first
        // is found at once, before the task that writes could run. (All our programs have one thread a runtime.)
        let at_once = poll_fn(|context| match asking.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => Poll::Ready(None),
        });
        match at_once.await {
            Some(Err(error)) if error.is_connection_dropped() => {
                self.forget(number, None).await;
                Err(RedisFailure::Closed(self.url.to_string()))
            }
            Some(result) => self.judge(result, number).await,
            None => {
                let result = asking.await;
                self.judge(result, number).await
            }
        }
    }

    async fn judge<T>(
        &self,
        result: Result<T, RedisError>,
        number: u64,
    ) -> Result<T, RedisFailure> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let Some(failure) = refusal(&error) else {
            self.forget(number, None).await;
            return Err(RedisFailure::Lost(error.to_string()));
        };
        if RECONNECT.contains(&failure.kind()) {
            self.forget(number, Some((Instant::now(), failure.clone()))).await;
        }
        Err(failure)
    }

    /// Opens another connection the next time, or after a pause when this one's failure is given.
    async fn forget(&self, number: u64, failed: Option<(Instant, RedisFailure)>) {
        let mut state = self.state.lock().await;
        if state.generation == number {
            state.connection = None;
            state.failed = failed;
        }
    }
}

/// What Redis itself said, if it did.
fn refusal(error: &RedisError) -> Option<RedisFailure> {
    if error.kind() == ErrorKind::AuthenticationFailed {
        let text = "WRONGPASS the user or password in --redis-url is not this redis's";
        return Some(RedisFailure::Refused(text.to_owned()));
    }
    let errors = error.clone().into_server_errors()?;
    let (_, first) = errors.first()?;
    let details = first.details().unwrap_or_default();
    // So Redis refuses, before any other check, what is long from a client that gave no password.
    if details.starts_with("Protocol error: unauthenticated") {
        return Some(RedisFailure::Refused("NOAUTH Authentication required.".to_owned()));
    }
    // Which line of which script it was helps nobody.
    let details = details.split(" script: ").next().unwrap_or_default();
    let text = format!("{} {details}", first.code()).trim_end().to_owned();
    let is_sure = SURE.contains(&first.code());
    Some(if is_sure { RedisFailure::Refused(text) } else { RedisFailure::Failed(text) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_never_shows_its_password() {
        let url: RedisUrl = "redis://user:secret@127.0.0.1:6379/2".parse().unwrap();
        assert_eq!(format!("{url} {url:?}"), "127.0.0.1:6379 RedisUrl(127.0.0.1:6379)");
    }

    #[test]
    fn a_url_of_another_kind_is_refused_with_what_would_do() {
        for url in ["http://a", "", "redis+cluster://a:1", "127.0.0.1:6379"] {
            assert!(url.parse::<RedisUrl>().is_err(), "{url}");
        }
    }
}
