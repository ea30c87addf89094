//! The pages' benchmark runs from end to end. Its times are not judged here: they need a quiet machine.

use std::process::Command;

/// Needs the other programs beside this one: `cargo build --workspace` first.
#[test]
fn a_small_run_has_every_page_as_html_and_as_json() {
    let output = Command::new(env!("CARGO_BIN_EXE_postback-bench"))
        .args(["pages", "--attempts", "3000", "--waiting", "600", "--dead", "300", "--rounds", "1"])
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{progress}");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| /"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    assert!(lines.len() >= 28, "{table}");
    for cells in &lines {
        assert_eq!(cells[3], "200", "{cells:?}");
        assert!(cells[5..8].iter().all(|cell| cell.parse::<f64>().is_ok()), "{cells:?}");
    }
    let forms: Vec<&str> = lines.iter().map(|cells| cells[2]).collect();
    assert_eq!(forms, ["HTML", "JSON"].repeat(lines.len() / 2), "{table}");
    for condition in ["cores: ", "build profile: ", "redis: ", "options: ", "log: "] {
        assert!(table.lines().any(|line| line.starts_with(condition)), "no {condition}in {table}");
    }
}
