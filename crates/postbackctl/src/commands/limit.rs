//! `limit`: a host's rate over the whole fleet.

use clap::builder::NonEmptyStringValueParser;
use postback_core::{endpoint::Origin, operate, queue::Queue};
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
#[derive(Debug, Clone, Copy)]
struct Rate(Option<f64>);

fn host(text: &str) -> Result<Hosts, String> {
    let origins = Origin::of_host(text).map_err(|error| error.to_string())?;
    Ok(Hosts(text.to_owned(), origins))
}

fn rate(text: &str) -> Result<Rate, String> {
    operate::rate(text).map(Rate)
}

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let lanes = operate::limit(queue, &args.host.1, args.lane.as_deref(), args.rate.0).await?;
    let text = operate::rate_text(args.rate.0);
    if output.is_json() {
        output.document(&json!({ "host": args.host.0, "rate": args.rate.0, "lanes": lanes }))?;
        return Ok(true);
    }
    for name in &lanes {
        output.line(&match args.rate.0 {
            None => format!("{name}: no limit"),
            Some(0.0) => format!("{name}: paused"),
            Some(_) => format!("{name}: {text} over the whole fleet"),
        })?;
    }
    Ok(true)
}
