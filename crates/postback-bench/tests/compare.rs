//! The comparison runs from end to end. Its figures are not judged here: they need a quiet machine.

use std::process::Command;

/// Needs the other programs beside this one: `cargo build --workspace` first.
#[test]
fn a_short_run_has_figures_of_all_that_can_be_measured_here() {
    let output = Command::new(env!("CARGO_BIN_EXE_postback-bench"))
        .args(["compare", "--rounds", "1", "--rows", "1000", "--jobs", "200"])
        .output()
        .unwrap();
    let table = String::from_utf8_lossy(&output.stdout);
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{table}\n{progress}");
    let rate = |name: &str| {
        let mut lines = table.lines().map(|line| line.split('|').map(str::trim));
        let cells = lines.find(|cells| cells.clone().nth(1) == Some(name));
        cells.and_then(|mut cells| cells.nth(2)).unwrap_or_else(|| panic!("no {name}: {table}"))
    };
    assert_ne!(rate("hyper alone"), "–", "{table}");
    assert_ne!(rate("Postback"), "–", "{table}");
    // Node or npm may be missing, or what npm installs out of reach: a line says so.
    let is_told = progress.contains("BullMQ is not measured");
    assert_eq!(rate("BullMQ") == "–", is_told, "{table}\n{progress}");
}
