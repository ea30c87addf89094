//! `limit`: a host's rate over the whole fleet.

use clap::builder::NonEmptyStringValueParser;
use postback_core::{
    endpoint::Origin,
    id::{LaneId, lane_name},
    policy::{RateError, parse_rate},
    queue::{LaneInfo, Queue},
};
use serde_json::json;

use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// `host:port`, or `host` for the default ports; with `http://` or `https://` in front for one scheme alone
    #[arg(value_parser = host)]
    host: Hosts,
    /// `100/s`, `30/m` or `10/h`; `0` pauses the host, `none` lifts the limit
    #[arg(value_parser = rate)]
    rate: Rate,
    /// Only the rows with this `policy.lane`
    #[arg(long, value_name = "LABEL", value_parser = NonEmptyStringValueParser::new())]
    lane: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl limit partner.example 100/s                # over the whole fleet
  postbackctl limit partner.example:8443 30/m --lane bulk
  postbackctl limit https://partner.example 0            # pauses the host
  postbackctl limit partner.example none                 # lifts the limit";

/// A host as it was written, and the origins that it means.
#[derive(Debug, Clone)]
struct Hosts(String, Vec<Origin>);

/// Rows a second; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate(pub(crate) Option<f64>);

fn host(text: &str) -> Result<Hosts, String> {
    let origins = Origin::of_host(text).map_err(|error| error.to_string())?;
    Ok(Hosts(text.to_owned(), origins))
}

/// A rate from the command line.
pub(crate) fn rate(text: &str) -> Result<Rate, String> {
    match text {
        "none" => return Ok(Rate(None)),
        "0" => return Ok(Rate(Some(0.0))),
        _ => {}
    }
    parse_rate(text).map(|rate| Rate(Some(rate))).map_err(|error| match error {
        RateError::Syntax => "must be a rate such as 100/s, 30/m or 10/h, or 0, or none".to_owned(),
        RateError::TooHigh => error.to_string(),
        // Less than one row a day is not a rate but a pause.
        RateError::TooLow => format!("{error}; 0 pauses the host"),
    })
}

/// A rate as it is written on the command line.
pub(crate) fn rate_text(rate: Option<f64>) -> String {
    let short = |n: f64| format!("{}", (n * 1000.0).round() / 1000.0);
    match rate {
        None => "none".to_owned(),
        Some(0.0) => "0".to_owned(),
        Some(rate) if rate >= 1.0 => format!("{}/s", short(rate)),
        Some(rate) if rate * 60.0 >= 1.0 => format!("{}/m", short(rate * 60.0)),
        Some(rate) => format!("{}/h", short(rate * 3600.0)),
    }
}

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let label = args.lane.as_deref();
    let mut lanes: Vec<(LaneId, String)> = args
        .host
        .1
        .iter()
        .map(|origin| (LaneId::of(origin, label), lane_name(origin, label)))
        .collect();
    if label.is_none() {
        for shard in queue.shards() {
            let known = shard.lane_infos().await?.into_iter();
            lanes.extend(
                known.filter(|info| is_labelled(info, &args.host.1)).map(|i| (i.lane, i.name)),
            );
        }
    }
    for shard in queue.shards() {
        let here = |lane: &LaneId| std::ptr::eq(queue.shard_of(*lane), shard);
        let mine: Vec<_> = lanes.iter().filter(|(lane, _)| here(lane)).cloned().collect();
        if !mine.is_empty() {
            shard.limit(&mine, args.rate.0).await?;
        }
    }
    let text = rate_text(args.rate.0);
    if output.is_json() {
        let names: Vec<_> = lanes.iter().map(|(_, name)| name).collect();
        output.document(&json!({ "host": args.host.0, "rate": args.rate.0, "lanes": names }))?;
        return Ok(true);
    }
    for (_, name) in &lanes {
        output.line(&match args.rate.0 {
            None => format!("{name}: no limit"),
            Some(0.0) => format!("{name}: paused"),
            Some(_) => format!("{name}: {text} over the whole fleet"),
        })?;
    }
    Ok(true)
}

/// Whether this is a labelled lane of one of the origins.
fn is_labelled(info: &LaneInfo, origins: &[Origin]) -> bool {
    let starts = |origin| {
        info.name.strip_prefix(&lane_name(origin, None)).is_some_and(|rest| rest.starts_with(' '))
    };
    origins.iter().any(starts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_may_pause_a_host_or_lift_its_limit() {
        assert_eq!(rate("none"), Ok(Rate(None)));
        assert_eq!(rate("0"), Ok(Rate(Some(0.0))));
        assert_eq!(rate("0/s"), Ok(Rate(Some(0.0))));
        assert_eq!(rate("30/m"), Ok(Rate(Some(0.5))));
        for (text, remedy) in [("100", "0, or none"), ("0.001/h", "0 pauses the host")] {
            let error = rate(text).unwrap_err();
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn a_rate_is_shown_as_it_is_written() {
        for text in ["100/s", "1.5/s", "30/m", "10/h", "0", "none"] {
            assert_eq!(rate_text(rate(text).unwrap().0), text);
        }
    }
}
