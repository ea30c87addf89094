//! `postback-bench`: a partner to deliver to (`sink`), a client that loads ingest (`load`), how fast Postback is next to
//! its goals (`run`), what hyper and actix-web alone cost (`bare-client`, `bare-server`), what others reach (`compare`),
//! what partners in trouble cost the others (`isolation`), what requests that share a batch save (`coalesce`), how long
//! the operators' pages take over a full log (`pages`), and faults staged on the whole stack (`chaos`).
//!
//! For the demo, tests and measurements; not published. What each command does lives in its file.

mod bare;
mod bare_server;
mod bullmq;
mod chaos;
mod coalesce;
mod histogram;
mod isolation;
mod load;
mod pages;
mod rows;
mod run;
mod sink;

use clap::Parser;

/// Tools for tests and measurements of Postback.
#[derive(Debug, Parser)]
#[command(version)]
enum Command {
    /// Measure Postback's speed against its goals, on stacks of its own, and print one table.
    Run(run::Options),
    /// Stage faults on a stack of its own and check that nothing is lost and nothing repeated without need.
    Chaos(chaos::Options),
    /// Receive postbacks: answer, print, journal, or misbehave by path.
    Sink(sink::Options),
    /// Send what deliver would send by hyper alone, to be compared with it.
    BareClient(bare::Options),
    /// Take requests as ingest does, parse and forget them, by actix-web alone, to be compared with it.
    BareServer(bare_server::Options),
    /// Send requests to ingest, in a closed loop or at a rate, and tell rate and waits.
    Load(load::Options),
    /// Measure what hosts in trouble cost the others, on a stack of its own.
    Isolation(isolation::Options),
    /// Measure what it costs and brings that small requests share a batch, on a stack of its own.
    Coalesce(coalesce::Options),
    /// Measure Postback next to hyper alone and to what many use for this work today, and print one table.
    Compare(run::compare::Options),
    /// Measure how long each of the operators' pages takes over a full delivery log, on a stack of its own.
    Pages(pages::Options),
}

fn main() -> anyhow::Result<()> {
    let command = Command::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, async {
        match command {
            Command::Run(options) => run::run(options).await,
            Command::Chaos(options) => chaos::run(options).await,
            Command::BareClient(options) => bare::run(options).await,
            Command::BareServer(options) => bare_server::run(options).await,
            Command::Sink(options) => sink::run(options).await,
            Command::Load(options) => load::run(options).await,
            Command::Isolation(options) => isolation::run(options).await,
            Command::Coalesce(options) => coalesce::run(options).await,
            Command::Compare(options) => run::compare::run(options).await,
            Command::Pages(options) => pages::run(options).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_options_are_sound() {
        Command::command().debug_assert();
    }
}
