//! `hosts`: the lanes, what waits in them, their rates and breakers.

use postback_core::{
    operate::rate_text,
    queue::{LaneInfo, Queue},
    view::time_text,
};
use serde::Serialize;
use serde_json::json;

use crate::output::{Column, Output, Table};

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Only lanes whose name holds this text
    text: Option<String>,
    /// Only lanes with batches waiting, a limit or a breaker
    #[arg(long)]
    busy: bool,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl hosts --busy                               # what waits, is limited or parked
  postbackctl hosts partner.example";

#[derive(Serialize)]
struct Host {
    /// `https://host:port`, and the label.
    name: String,
    lane: String,
    ready_batches: u64,
    /// Rows a second; 0: paused; null: no limit.
    rate: Option<f64>,
    parked_since: Option<String>,
    parked_because: Option<String>,
    /// When a parked or limited lane is served next.
    served_from: Option<String>,
}

impl Host {
    fn new(info: LaneInfo, now_ms: u64) -> Host {
        let (since, why) = info.parked.unzip();
        Host {
            name: info.name,
            lane: info.lane.to_string(),
            ready_batches: info.ready,
            rate: info.rate,
            parked_since: since.map(time_text),
            parked_because: why,
            served_from: info.from_ms.filter(|from| *from > now_ms).map(time_text),
        }
    }

    fn state(&self) -> String {
        match (&self.parked_since, self.rate, &self.served_from) {
            (Some(since), ..) => format!(
                "parked since {since}: {}",
                self.parked_because.as_deref().unwrap_or_default()
            ),
            (None, Some(0.0), _) => "paused".to_owned(),
            (None, _, Some(from)) => format!("next at {from}"),
            _ => "open".to_owned(),
        }
    }
}

pub(crate) async fn run(queue: &Queue, args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let mut infos = Vec::new();
    for shard in queue.shards() {
        infos.extend(shard.lane_infos().await?);
    }
    let now_ms = queue.shards()[0].now_ms().await?;
    let is_busy = |i: &LaneInfo| i.ready > 0 || i.rate.is_some() || i.parked.is_some();
    let named = |i: &LaneInfo| args.text.as_ref().is_none_or(|text| i.name.contains(text));
    infos.retain(|info| named(info) && (!args.busy || is_busy(info)));
    infos.sort_by(|a, b| b.ready.cmp(&a.ready).then_with(|| a.name.cmp(&b.name)));
    let hosts: Vec<Host> = infos.into_iter().map(|info| Host::new(info, now_ms)).collect();
    if output.is_json() {
        output.document(&json!({ "hosts": hosts }))?;
        return Ok(true);
    }
    if hosts.is_empty() {
        output.line("no lanes")?;
        return Ok(true);
    }
    let mut table = Table::new(&[
        Column::ends("lane"),
        Column::number("ready batches"),
        Column::number("limit"),
        Column::text("state"),
    ]);
    for host in &hosts {
        let rate = rate_text(host.rate);
        table.row([host.name.clone(), host.ready_batches.to_string(), rate, host.state()]);
    }
    output.table(&table)?;
    Ok(true)
}
