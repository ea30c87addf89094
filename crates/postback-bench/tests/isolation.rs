//! The isolation benchmark runs from end to end. Its figures are not judged here: they need a quiet machine.

use std::process::Command;

const TRIALS: [&str; 9] =
    ["dead", "refusing", "slow", "slow-single", "slow-each", "limit", "in-flight", "lanes", "tls"];

/// Needs the other programs beside this one: `cargo build --workspace` first.
#[test]
fn a_quick_run_has_figures_of_every_trial_and_loses_no_row() {
    let output = Command::new(env!("CARGO_BIN_EXE_postback-bench"))
        .args(["isolation", "--quick"])
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{progress}");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    for trial in TRIALS {
        let figures = lines.iter().filter(|cells| cells[1] == trial);
        assert!(figures.count() > 1, "no figures of {trial}:\n{table}");
    }
    let counts: Vec<_> = lines.iter().filter(|cells| cells[5].starts_with("each once")).collect();
    assert!(counts.len() >= TRIALS.len() - 1, "{table}");
    for cells in counts {
        assert_eq!(cells[5], "each once: met", "{}: {}: {}", cells[1], cells[2], cells[3]);
    }
    for condition in ["cores: ", "kernel: ", "build profile: ", "redis: ", "options: "] {
        assert!(table.lines().any(|line| line.starts_with(condition)), "no {condition}in {table}");
    }
}
