//! The command line: what every command takes, and the commands with their help.

use clap::{Parser, Subcommand};
use postback_core::options::QueueOptions;

use crate::commands::{
    completions, dead, find, hosts, limit, man, pause, revise, send, show, status,
};

/// Looks into the queue and the delivery log, changes what waits, and sends single postbacks
///
/// The queue is found as by the daemons: REDIS_URL, POSTBACK_PREFIX and POSTBACK_SHARDS must be what they are there.
/// What changes rows counts them first, and acts with --yes.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, disable_help_subcommand = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten, next_help_heading = "Options of every command")]
    pub(crate) queue: QueueOptions,

    /// One JSON document instead of text; errors are text on standard error all the same
    #[arg(long, global = true)]
    pub(crate) json: bool,

    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl status
  postbackctl find 8f3a                                  # what happened to click 8f3a?
  postbackctl dead list --cause timeout --host partner.example
  postbackctl dead replay --host partner.example --since 2h --rate 100/s --yes
  postbackctl limit partner.example 100/s
  postbackctl pause --reason 'partner asked'
  postbackctl resume

Exit codes:
  0  done
  1  failed, or find and show found nothing, or rows were passed over
  2  wrong usage";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Rows waiting, delivered and dead, rates, and the workers
    ///
    /// Rates are those of the last whole minute and the one under way. A worker whose lease runs out without a beat is
    /// taken for dead: the others take over what it held.
    Status(status::Args),
    /// Postbacks by ref, request id or id: in the log, then live and dead
    ///
    /// Shows the whole of a few, and a line of each of many. What was delivered is known from the log alone: where it
    /// does not go back far enough, that is said. Exits with 1 when nothing is found.
    Find(find::Args),
    /// One postback with all its attempts
    ///
    /// A timeline from nginx to the last attempt, with the distance of each step from the first, and the request and
    /// response of each attempt as far as they are kept. Exits with 1 when nothing is found.
    Show(show::Args),
    /// Sends one postback through the queue, or shows it
    ///
    /// By the same rules as a request to ingest, but straight into Redis: no token, no limit of the backlog.
    Send(send::Args),
    /// The lanes: what waits, limits, breakers
    ///
    /// The fullest first. A lane is scheme, host and port, with policy.lane where rows have one.
    Hosts(hosts::Args),
    /// Sets a host's rate over the whole fleet
    ///
    /// Rows go out at even distances; a change is heeded within half a second. Without --lane it is set for every lane
    /// of the host that is known by now.
    Limit(limit::Args),
    /// Stops every deliver on every box from taking rows; they stay up
    ///
    /// Within a second they take no more, give back what is unsent and finish what is in flight. Requests are still
    /// taken.
    Pause(pause::Args),
    /// Lets every deliver go on after pause
    #[command(after_help = pause::RESUME_EXAMPLES)]
    Resume,
    /// The dead letters: list, replay, drop
    #[command(subcommand)]
    Dead(dead::Command),
    /// Ends rows that are not delivered yet: they are dead, cause `cancelled`; counts them first
    ///
    /// Rows whose batch a worker holds are passed over and counted; the command then exits with 1 and can be repeated.
    Cancel(revise::CancelArgs),
    /// Prints a script that lets a shell complete these commands
    Completions(completions::Args),
    /// Prints the manual page, or writes one for each command
    Man(man::Args),
}

impl Command {
    /// Whether it needs no Redis.
    pub(crate) fn is_dry_run(&self) -> bool {
        match self {
            Command::Send(args) => args.dry_run,
            Command::Completions(_) | Command::Man(_) => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_options_are_consistent() {
        super::Args::command().debug_assert();
    }
}
