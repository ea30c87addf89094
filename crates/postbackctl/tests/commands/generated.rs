//! Completions and pages of the manual.

use std::process::Command;

use postback_core::testing::RedisServer;

use crate::support::{json, run, text};

#[test]
fn a_shell_completes_commands_and_options() {
    let server = RedisServer::start();
    let script = text(&run(&server, &["completions", "bash"]).stdout);
    let typed = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={last}; _postbackctl postbackctl '{word}' '{before}'; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words = words.join(" "),
            last = words.len() - 1,
            word = words[words.len() - 1],
            before = words[words.len() - 2],
        );
        text(&Command::new("bash").args(["-c", &ask]).output().unwrap().stdout)
    };
    assert_eq!(typed("postbackctl sta"), "status\n");
    assert_eq!(typed("postbackctl dead re"), "replay\n");
    assert_eq!(typed("postbackctl dead replay --ra"), "--rate\n");
    let starts = [("zsh", "#compdef postbackctl"), ("fish", "# Print an optspec")];
    for (shell, start) in starts {
        let script = text(&run(&server, &["completions", shell]).stdout);
        assert!(script.starts_with(start), "{shell}: {script}");
    }
    assert_eq!(json(&server, &["completions", "bash"])["script"], script);
    assert_eq!(run(&server, &["completions", "tcsh"]).status.code(), Some(2));
}

#[test]
fn the_manual_has_a_page_for_each_command_and_keeps_the_lines_of_examples() {
    let server = RedisServer::start();
    let dir = server.dir().join("pages");
    let listed = text(&run(&server, &["man", "--dir", dir.to_str().unwrap()]).stdout);
    assert!(listed.contains("/postbackctl-dead-replay.1\n"), "{listed}");
    for path in listed.lines() {
        let page = std::fs::read_to_string(path).unwrap();
        assert!(page.contains(".SH NAME\n") && page.contains(".SH SYNOPSIS\n"), "{path}");
    }
    let page = std::fs::read_to_string(dir.join("postbackctl-dead-replay.1")).unwrap();
    let examples = page.split(".SH EXAMPLES\n.nf\n").nth(1).unwrap();
    let first = r"  postbackctl dead replay \-\-host partner.example \-\-since 2h";
    assert_eq!(examples.lines().next(), Some(first), "{page}");
    let whole = std::fs::read(dir.join("postbackctl.1")).unwrap();
    assert_eq!(run(&server, &["man"]).stdout, whole);
    assert!(text(&whole).contains("EXIT CODES"));
    let nowhere = run(&server, &["man", "--dir", "/dev/null/x"]);
    assert_eq!(nowhere.status.code(), Some(1));
    assert!(text(&nowhere.stderr).contains("cannot make /dev/null/x"));
}

#[test]
fn neither_needs_a_redis() {
    let mut server = RedisServer::start();
    server.kill();
    assert!(run(&server, &["man"]).status.success());
    assert!(run(&server, &["completions", "fish"]).status.success());
}
