//! The connection to Redis: opened when needed, bounded in time, never resending by itself.
//!
//! Which keys and scripts there are is not known here (`queue`).

use std::{fmt, str::FromStr, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, FromRedisValue, IntoConnectionInfo, RedisError, Script,
    aio::MultiplexedConnection,
};
use thiserror::Error;
use tokio::{sync::Mutex, time::Instant};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_millis(900);
/// How long a reply may take. A settle of 256 rows takes about 1 ms; an AOF fsync may stall Redis for longer.
const REPLY: Duration = Duration::from_millis(900);
/// For so long after a failed connect no other is tried.
const PAUSE: Duration = Duration::from_millis(200);

/// Where Redis is. Shows no password in `Debug` and `Display`.
#[derive(Clone)]
pub struct RedisUrl(redis::ConnectionInfo);

/// Why a command brought no result.
#[derive(Debug, Clone, Error)]
pub enum RedisFailure {
    /// Not connected; nothing was sent.
    #[error("cannot reach redis at {0}: {1}")]
    Away(String, String),
    /// Redis refused it; nothing was done.
    #[error("redis refused: {0}")]
    Refused(String),
    /// No answer came; whether it was done is not known.
    #[error("redis's answer was lost: {0}")]
    Lost(String),
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
    state: Mutex<LinkState>,
}

#[derive(Default)]
struct LinkState {
    connection: Option<MultiplexedConnection>,
    generation: u64,
    failed: Option<(Instant, RedisFailure)>,
}

impl Link {
    /// A link that is not yet connected.
    ///
    /// # Errors
    /// When the URL needs what this build does not have.
    pub fn new(url: RedisUrl) -> Result<Link, RedisFailure> {
        let client =
            Client::open(url.0.clone()).map_err(|e| RedisFailure::Refused(e.to_string()))?;
        Ok(Link { url, client, state: Mutex::default() })
    }

    /// Runs a command.
    ///
    /// # Errors
    /// See [`RedisFailure`]; never sends twice.
    pub async fn run<T: FromRedisValue>(&self, command: &redis::Cmd) -> Result<T, RedisFailure> {
        let (mut connection, generation) = self.connection().await?;
        let result = command.query_async(&mut connection).await;
        self.judge(result, generation).await
    }

    /// Runs several commands in one write.
    ///
    /// # Errors
    /// As [`Link::run`].
    pub async fn run_all<T: FromRedisValue>(
        &self,
        commands: &redis::Pipeline,
    ) -> Result<T, RedisFailure> {
        let (mut connection, generation) = self.connection().await?;
        let result = commands.query_async(&mut connection).await;
        self.judge(result, generation).await
    }

    /// Runs a script on the slot of `key`, loading it where Redis does not have it.
    ///
    /// # Errors
    /// As [`Link::run`].
    pub async fn script<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &str,
        fill: impl FnOnce(&mut redis::Cmd),
    ) -> Result<T, RedisFailure> {
        let mut command = redis::cmd("EVALSHA");
        command.arg(script.get_hash()).arg(1).arg(key);
        fill(&mut command);
        let (mut connection, generation) = self.connection().await?;
        let mut result = command.query_async(&mut connection).await;
        if matches!(&result, Err(e) if is_missing_script(e)) {
            // Nothing was done, so this is the first sending.
            result = match script.prepare_invoke().load_async(&mut connection).await {
                Ok(_) => command.query_async(&mut connection).await,
                Err(error) => Err(error),
            };
        }
        self.judge(result, generation).await
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
                let failure = RedisFailure::Away(self.url.to_string(), error.to_string());
                state.failed = Some((Instant::now(), failure.clone()));
                Err(failure)
            }
        }
    }

    async fn judge<T>(
        &self,
        result: Result<T, RedisError>,
        generation: u64,
    ) -> Result<T, RedisFailure> {
        let error = match result {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if error.code().is_some() && !error.is_unrecoverable_error() && !error.is_io_error() {
            return Err(RedisFailure::Refused(error.to_string()));
        }
        let mut state = self.state.lock().await;
        if state.generation == generation {
            state.connection = None;
        }
        Err(RedisFailure::Lost(error.to_string()))
    }
}

fn is_missing_script(error: &RedisError) -> bool {
    error.code() == Some("NOSCRIPT")
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
