//! Which rows a command is about, as options.

use postback_core::{attempt::Cause, operate, select, when::When};

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
    #[arg(long, value_name = "TIME", value_parser = str::parse::<When>)]
    since: Option<When>,
    /// Rows that died (for `cancel`: came in) before this time
    #[arg(long, value_name = "TIME", value_parser = str::parse::<When>)]
    until: Option<When>,
}

/// Which dead rows.
#[derive(Debug, clap::Args)]
pub(crate) struct DeadFilter {
    #[command(flatten)]
    filter: Filter,
    /// Rows that died of this
    #[arg(long, value_parser = operate::cause)]
    cause: Option<Cause>,
}

/// What a host on the command line means, each `host:port`.
#[derive(Debug, Clone)]
struct Hosts(Vec<String>);

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
    operate::hosts(text).map(Hosts)
}
