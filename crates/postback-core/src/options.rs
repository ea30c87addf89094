//! The options that every program of the fleet has.

use std::ffi::OsStr;

use clap::{Arg, Command, Error, builder::TypedValueParser, error::ErrorKind};

use crate::{
    logging::LogFormat,
    queue::{Queue, QueueError},
    redis::RedisUrl,
};

/// Where the queue is.
#[derive(Debug, Clone, clap::Args)]
pub struct QueueOptions {
    /// Where Redis is: redis://, rediss:// or unix:///path
    #[arg(
        long,
        env = "REDIS_URL",
        default_value = "redis://127.0.0.1:6379",
        hide_env_values = true,
        value_parser = UrlParser,
        global = true
    )]
    pub redis_url: RedisUrl,

    /// What every key in Redis begins with
    #[arg(long, env = "POSTBACK_PREFIX", default_value = "pb", value_parser = prefix, global = true)]
    pub redis_prefix: String,

    /// How many sets of keys the fleet uses; the same number everywhere
    #[arg(long, env = "POSTBACK_SHARDS", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1024), global = true)]
    pub shards: u16,
}

/// How a daemon logs.
#[derive(Debug, Clone, clap::Args)]
pub struct LogOptions {
    /// How the log is written on standard error, one entry a line; RUST_LOG sets its level
    #[arg(long, env = "POSTBACK_LOG_FORMAT", default_value = "text", value_enum)]
    pub log_format: LogFormat,
}

impl QueueOptions {
    /// The queue; Redis need not be up.
    ///
    /// # Errors
    /// As [`Queue::open`].
    pub fn open(&self) -> Result<Queue, QueueError> {
        Queue::open(&self.redis_url, &self.redis_prefix, self.shards)
    }
}

/// Braces would move the hash tag, and with it the slot that a script may touch.
fn prefix(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "_-.:".contains(c);
    if (1..=64).contains(&text.len()) && text.chars().all(fits) {
        return Ok(text.to_owned());
    }
    Err("must be 1 to 64 letters, digits, `_`, `-`, `.` or `:`".to_owned())
}

/// clap repeats a bad value in its error; a Redis URL may hold a password.
#[derive(Clone)]
struct UrlParser;

impl TypedValueParser for UrlParser {
    type Value = RedisUrl;

    fn parse_ref(&self, cmd: &Command, _: Option<&Arg>, value: &OsStr) -> Result<RedisUrl, Error> {
        let url = value.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(str::parse);
        url.map_err(|why: String| {
            let text = format!("bad value for --redis-url (or REDIS_URL): {why}\n");
            Error::raw(ErrorKind::ValueValidation, text).with_cmd(cmd)
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        queue: QueueOptions,
    }

    #[test]
    fn a_bad_redis_url_is_told_without_what_it_holds() {
        for url in ["http://u:secret@h", "redis://u:secret@h:port/", "u:secret@h", "secret"] {
            let error = Program::try_parse_from(["x", "--redis-url", url]).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            let text = error.to_string();
            assert!(text.contains("--redis-url") && !text.contains("secret"), "{text}");
        }
    }

    #[test]
    fn a_prefix_cannot_move_the_hash_tag() {
        let check = |text: &str, good| assert_eq!(prefix(text).is_ok(), good, "{text}");
        check("pb", true);
        check("team-a:pb_2", true);
        check("", false);
        check("a{b}", false);
        check("a b", false);
        let parsed = Program::parse_from(["x", "--redis-prefix", "q"]);
        assert_eq!(parsed.queue.redis_prefix, "q");
    }
}
