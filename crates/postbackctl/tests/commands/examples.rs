//! What the help and the README show works as it is written.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use postback_core::testing::RedisServer;

use crate::support::{SEND, json, run, text};

/// The words of every command, from the pages of the manual.
fn commands(server: &RedisServer) -> Vec<Vec<String>> {
    let dir = server.dir().join("man");
    let written = json(server, &["man", "--dir", dir.to_str().unwrap()])["written"].clone();
    let names = written.as_array().unwrap().iter().map(|path| {
        let name = Path::new(path.as_str().unwrap()).file_stem().unwrap();
        name.to_str().unwrap().split('-').skip(1).map(str::to_owned).collect()
    });
    names.collect()
}

/// The lines under `Examples:`.
fn examples(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Examples:").skip(1);
    lines.take_while(|line| line.starts_with("  ")).map(|line| line.trim().to_owned()).collect()
}

/// Runs a line as a shell does, with the folders of the system in the server's. It must do what it says, or find nothing.
fn check(server: &RedisServer, line: &str) {
    let here = |folder: &str| {
        let folder = server.dir().join(folder);
        fs::create_dir_all(&folder).unwrap();
        format!("> {}/", folder.display())
    };
    let mut whole = line.to_owned();
    for folder in [
        "/etc/bash_completion.d",
        "/etc/fish/completions",
        "/usr/local/share/zsh/site-functions",
        "/usr/local/share/man/man1",
    ] {
        whole = whole.replace(&format!("> {folder}/"), &here(&folder[1..]));
        let place = server.dir().join(&folder[1..]);
        whole = whole.replace(&format!("--dir {folder}"), &format!("--dir {}", place.display()));
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_postbackctl")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.current_dir(server.dir()).env("PATH", path).env("REDIS_URL", server.url_text());
    // So that ending it ends the command too.
    if line.split('#').next().unwrap().contains("--watch") {
        let exec = format!("exec {whole}");
        let mut child = shell.args(["-c", &exec]).stdout(Stdio::piped()).spawn().unwrap();
        let shown = BufReader::new(child.stdout.take().unwrap()).lines().nth(1).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(shown.unwrap().starts_with("pending"), "{line}");
        return;
    }
    let out = shell.args(["-c", &whole]).output().unwrap();
    let error = text(&out.stderr);
    let found_nothing = out.status.code() == Some(1) && error.starts_with("nothing found for");
    assert!(out.status.success() || found_nothing, "{line}: {error}");
}

fn some_dead() -> RedisServer {
    let server = RedisServer::start();
    json(&server, &SEND);
    json(&server, &["cancel", "--yes"]);
    json(&server, &SEND);
    server
}

#[test]
fn every_example_of_the_help_works() {
    let server = some_dead();
    let commands = commands(&server);
    assert!(commands.len() > 14, "{commands:?}");
    for words in commands {
        let mut asked: Vec<_> = words.iter().map(String::as_str).collect();
        asked.push("--help");
        let help = text(&run(&server, &asked).stdout);
        let shown = examples(&help);
        assert!(!shown.is_empty() || words == ["dead"], "{words:?} shows no example");
        shown.iter().for_each(|line| check(&server, line));
    }
}

#[test]
fn every_command_of_the_readme_works() {
    let server = some_dead();
    let readme = include_str!("../../../../README.md");
    let lines: Vec<_> = readme.lines().filter(|line| line.starts_with("postbackctl ")).collect();
    assert!(lines.len() > 10, "{lines:?}");
    lines.iter().for_each(|line| check(&server, line));
}
