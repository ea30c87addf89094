//! Which rows a command is about, as options.

use std::time::{Duration, UNIX_EPOCH};

use postback_core::{attempt::Cause, endpoint::Origin, policy::parse_duration, select};

/// Which rows, dead or pending; all that is given must hold.
#[derive(Debug, clap::Args)]
pub(crate) struct Filter {
    /// Rows of this request
    #[arg(long, value_name = "ID")]
    request: Option<String>,
    /// Rows to this host: `host:port`, or `host` for the default ports
    #[arg(long, value_name = "HOST", value_parser = hosts)]
    host: Option<Hosts>,
    /// Rows whose last answer had this status; 0: there was none
    #[arg(long)]
    status: Option<u16>,
    /// Rows with this ref
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// Rows that died (for `cancel`: came in) at this time or later: `2026-02-28T15:00:00Z`, or `2h` ago
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<When>,
    /// Rows that died (for `cancel`: came in) before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<When>,
}

/// Which dead rows.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadFilter {
    #[command(flatten)]
    filter: Filter,
    /// Rows that died of this
    #[arg(long, value_parser = cause)]
    cause: Option<Cause>,
}

/// What a host on the command line means, each `host:port`.
#[derive(Debug, Clone)]
struct Hosts(Vec<String>);

/// A time, or how long ago by the fleet's clock: this box's own may be wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    /// Milliseconds since 1970.
    At(u64),
    Ago(Duration),
}

impl When {
    fn ms(self, now_ms: u64) -> u64 {
        match self {
            When::At(ms) => ms,
            When::Ago(ago) => now_ms.saturating_sub(ago.as_millis() as u64),
        }
    }
}

impl Filter {
    /// `now_ms`: the fleet's time.
    pub(crate) fn at(&self, now_ms: u64) -> select::Filter {
        select::Filter {
            request: self.request.clone(),
            hosts: self.host.as_ref().map(|hosts| hosts.0.clone()),
            status: self.status,
            cause: None,
            reference: self.reference.clone(),
            since_ms: self.since.map(|when| when.ms(now_ms)),
            until_ms: self.until.map(|when| when.ms(now_ms)),
        }
    }
}

impl DeadFilter {
    /// As [`Filter::at`].
    pub(crate) fn at(&self, now_ms: u64) -> select::Filter {
        select::Filter { cause: self.cause, ..self.filter.at(now_ms) }
    }
}

fn hosts(text: &str) -> Result<Hosts, String> {
    let origins = Origin::of_host(text).map_err(|error| error.to_string())?;
    Ok(Hosts(origins.iter().map(Origin::host_port).collect()))
}

fn cause(text: &str) -> Result<Cause, String> {
    let found = Cause::NAMES.iter().find(|(_, name)| *name == text);
    let names = || Cause::NAMES.map(|(_, name)| name).join(", ");
    found.map(|(cause, _)| *cause).ok_or_else(|| format!("is not one of {}", names()))
}

fn time(text: &str) -> Result<When, String> {
    if let Ok(ago) = parse_duration(text) {
        return Ok(When::Ago(ago));
    }
    let at = humantime::parse_rfc3339_weak(text).map_err(
        |_| "must be a time in UTC such as 2026-02-28T15:00:00Z, or how long ago, such as 2h",
    )?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(When::At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_such_or_as_how_long_ago() {
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(time(text).ok().map(|when| when.ms(1_772_290_800_000)), expect, "{text}");
        };
        check("2026-02-28T15:00:00Z", Some(1_772_290_800_000));
        check("2026-02-28 15:00:00", Some(1_772_290_800_000));
        check("2h", Some(1_772_283_600_000));
        check("500ms", Some(1_772_290_799_500));
        check("30000d", Some(0));
        for text in ["", "yesterday", "15:00", "-1h", "2026-13-01T00:00:00Z"] {
            check(text, None);
        }
    }
}
