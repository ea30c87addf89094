//! A time as operators write it: `2026-02-28T15:00:00Z`, or how long ago.

use std::{
    str::FromStr,
    time::{Duration, UNIX_EPOCH},
};

use crate::policy::parse_duration;

/// A time, or how long ago by the fleet's clock: a box's own may be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// Milliseconds since 1970.
    At(u64),
    /// So long before now.
    Ago(Duration),
}

impl When {
    /// The time in milliseconds since 1970; `now_ms` is the fleet's ([`crate::queue::Shard::now_ms`]).
    pub fn ms(self, now_ms: u64) -> u64 {
        match self {
            When::At(ms) => ms,
            When::Ago(ago) => {
                now_ms.saturating_sub(u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))
            }
        }
    }
}

impl FromStr for When {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<When, &'static str> {
        if let Ok(ago) = parse_duration(text) {
            return Ok(When::Ago(ago));
        }
        let at = humantime::parse_rfc3339_weak(text).map_err(
            |_| "must be a time in UTC such as 2026-02-28T15:00:00Z, or how long ago, such as 2h",
        )?;
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(When::At(u64::try_from(since.as_millis()).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_given_as_such_or_as_how_long_ago() {
        let check = |text: &str, expect: Option<u64>| {
            let when = text.parse::<When>().ok();
            assert_eq!(when.map(|when| when.ms(1_772_290_800_000)), expect, "{text}");
        };
        check("2026-02-28T15:00:00Z", Some(1_772_290_800_000));
        check("2026-02-28T15:00:00.123Z", Some(1_772_290_800_123));
        check("2026-02-28 15:00:00", Some(1_772_290_800_000));
        check("2h", Some(1_772_283_600_000));
        check("30000d", Some(0));
        for text in ["", "yesterday", "15:00", "-1h", "2026-13-01T00:00:00Z"] {
            check(text, None);
        }
    }
}
