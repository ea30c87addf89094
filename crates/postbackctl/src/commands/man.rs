//! `man`: the manual's pages, one for each command.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};
use serde_json::json;

use crate::output::Output;

#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Write postbackctl.1, postbackctl-status.1 and so on into this folder
    #[arg(long)]
    dir: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  postbackctl man > postbackctl.1
  postbackctl man --dir /usr/local/share/man/man1";

pub(crate) fn run(args: &Args, output: &mut Output) -> anyhow::Result<bool> {
    let mut program = crate::Args::command();
    program.build();
    let Some(dir) = &args.dir else {
        let page = page(&program)?;
        if output.is_json() {
            output.document(&json!({ "page": String::from_utf8_lossy(&page) }))?;
        } else {
            output.raw(&page)?;
        }
        return Ok(true);
    };
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let mut written = Vec::new();
    for command in all(&program) {
        let path = dir.join(Man::new(command.clone()).get_filename());
        fs::write(&path, page(command)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        written.push(path.display().to_string());
    }
    if output.is_json() {
        output.document(&json!({ "written": written }))?;
    } else {
        written.iter().try_for_each(|path| output.line(path))?;
    }
    Ok(true)
}

/// A command and those under it.
fn all(command: &Command) -> Vec<&Command> {
    let under = command.get_subcommands().flat_map(all);
    std::iter::once(command).chain(under).collect()
}

fn page(command: &Command) -> anyhow::Result<Vec<u8>> {
    // What follows the options is set as it is written, which the crate's own section is not.
    let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let man = Man::new(command.clone());
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    let mut rest = Roff::new();
    for part in examples.split("\n\n").filter(|part| !part.is_empty()) {
        let (title, lines) = part.split_once(":\n").unwrap_or((part, ""));
        rest.control("SH", [title.to_uppercase().as_str()]);
        rest.control("nf", []);
        for line in lines.lines() {
            rest.text([roman(line)]);
        }
        rest.control("fi", []);
    }
    rest.to_writer(&mut page)?;
    Ok(page)
}
