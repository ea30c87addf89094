//! Which rows a command is about, as options.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
    since: Option<u64>,
    /// Rows that died (for `cancel`: came in) before this time
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<u64>,
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

impl From<&Filter> for select::Filter {
    fn from(filter: &Filter) -> select::Filter {
        select::Filter {
            request: filter.request.clone(),
            hosts: filter.host.as_ref().map(|hosts| hosts.0.clone()),
            status: filter.status,
            cause: None,
            reference: filter.reference.clone(),
            since_ms: filter.since,
            until_ms: filter.until,
        }
    }
}

impl From<&DeadFilter> for select::Filter {
    fn from(filter: &DeadFilter) -> select::Filter {
        select::Filter { cause: filter.cause, ..(&filter.filter).into() }
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

/// Milliseconds since 1970.
fn time(text: &str) -> Result<u64, String> {
    time_at(text, SystemTime::now())
}

fn time_at(text: &str, now: SystemTime) -> Result<u64, String> {
    let ago = |wait: Duration| now.checked_sub(wait).unwrap_or(UNIX_EPOCH);
    let at = humantime::parse_rfc3339_weak(text)
        .ok()
        .or_else(|| parse_duration(text).ok().map(ago))
        .ok_or("must be a time in UTC such as 2026-02-28T15:00:00Z, or how long ago, such as 2h")?;
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_such_or_as_how_long_ago() {
        let now = UNIX_EPOCH + Duration::from_secs(1_772_290_800);
        let check = |text: &str, expect: Option<u64>| {
            assert_eq!(time_at(text, now).ok(), expect, "{text}");
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
