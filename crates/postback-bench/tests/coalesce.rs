//! The coalescing benchmark runs from end to end. Its figures are not judged here: they need a quiet machine.

use std::process::Command;

/// Needs the other programs beside this one: `cargo build --workspace` first.
#[test]
fn a_small_run_has_figures_of_every_load_with_and_without() {
    let output = Command::new(env!("CARGO_BIN_EXE_postback-bench"))
        .args(["coalesce", "--rounds", "1", "--requests", "400", "--requests-alone", "50"])
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{progress}");
    let lines: Vec<Vec<&str>> = table
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| load"))
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let variants: Vec<&str> = lines.iter().map(|cells| cells[2]).collect();
    assert_eq!(variants, ["off", "on"].repeat(4), "{table}");
    for cells in &lines {
        let is_measured = |cell: &str| cell.split(' ').next().unwrap().parse::<f64>().is_ok();
        // Kept bytes are told where rows are kept, deliver's time where they are delivered.
        let is_delivered = cells[1].ends_with("delivered");
        assert!(cells[3..9].iter().all(|cell| is_measured(cell)), "{cells:?}");
        assert_eq!(is_measured(cells[9]), is_delivered, "{cells:?}");
        assert_ne!(is_measured(cells[10]), is_delivered, "{cells:?}");
    }
    for condition in ["cores: ", "kernel: ", "build profile: ", "redis: ", "options: "] {
        assert!(table.lines().any(|line| line.starts_with(condition)), "no {condition}in {table}");
    }
}
