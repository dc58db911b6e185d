//! The payout as its page runs it: it dies in each step, and goes on.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::path::Path;
use std::process::Command;

fn pay_out(dir: &Path, id: &str, die_in: Option<&str>) -> (bool, Vec<String>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_payout"));
    command.args(["--id", id, "--dir"]).arg(dir);
    command.args(die_in.into_iter().flat_map(|step| ["--die-in", step]));
    let output = command.output().unwrap();
    let lines = String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect();
    (output.status.success(), lines)
}

#[test]
fn a_payout_that_dies_in_each_step_is_carried_out_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Vec::new();
    for step in ["reserve", "transfer", "receipt"] {
        let (lived, lines) = pay_out(dir.path(), "payout-7", Some(step));
        assert!(!lived, "{lines:?}");
        told.push(lines);
    }
    assert_eq!(told[0], ["reserve: carried out"]);
    assert_eq!(told[1], ["reserve: the bank knows the key", "transfer: carried out"]);
    assert_eq!(
        told[2],
        ["transfer: the bank knows the key", "receipt: carried out"],
        "the reservation is recorded"
    );
    let (lived, lines) = pay_out(dir.path(), "payout-7", None);
    assert!(lived);
    assert_eq!(
        lines,
        ["receipt: the bank knows the key", "paid out payout-7 by reserve no. 1 and transfer no. 2", "Run"]
    );
    let (lived, lines) = pay_out(dir.path(), "payout-7", None);
    assert!(lived && lines.len() == 1 && lines[0].starts_with("Duplicate"), "{lines:?}");
    let book = std::fs::read_to_string(dir.path().join("bank.txt")).unwrap();
    let names: Vec<_> = book.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["reserve", "transfer", "receipt"], "each once");
}
