//! `completions`: scripts for shells.

use clap::{CommandFactory as _, ValueEnum as _};
use clap_complete::Shell;
use serde_json::json;

use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Whose script
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl completions bash > /etc/bash_completion.d/postbackctl
  postbackctl completions zsh > /usr/local/share/zsh/site-functions/_postbackctl
  postbackctl completions fish > /etc/fish/completions/postbackctl.fish";

pub(crate) fn run(args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut crate::Args::command(), "postbackctl", &mut script);
    if output.is_json() {
        let shell = args.shell.to_possible_value().map(|value| value.get_name().to_owned());
        let script = String::from_utf8_lossy(&script);
        output.document(&json!({ "shell": shell, "script": script }))?;
    } else {
        output.raw(&script)?;
    }
    Ok(true)
}
