//! The scheduled job as its page runs it: several processes, one of them killed in the middle.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use common::{claimed, ledger, start, wait_until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_cron_job");

#[test]
fn killed_in_the_middle_its_slots_run_again_once_and_none_is_left_out() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--every", "1", "--missed", "all", "--lease-ms", "1000", "--look-back", "100"];
    let doomed = start(PROGRAM, directory.path(), &[&args[..], &["--delay-ms", "600000"]].concat());
    wait_until("it is in the middle of two slots", || claimed(directory.path()).len() >= 2);
    doomed.kill();
    let begun = claimed(directory.path());
    assert!(begun.len() >= 2);

    let others: Vec<_> = (0..3).map(|_| start(PROGRAM, directory.path(), &args)).collect();
    wait_until("others run them", || ledger(directory.path()).len() >= begun.len() + 4);
    others.into_iter().for_each(|process| process.end());

    let lines = ledger(directory.path());
    let mut slots: Vec<u64> = lines.iter().map(|line| line.id.parse().unwrap()).collect();
    slots.sort_unstable();
    let first = slots[0];
    let all: Vec<u64> = (0..lines.len() as u64).map(|n| first + n * 1000).collect();
    assert_eq!(slots, all, "each slot once, and none left out");
    for slot in begun {
        let line = lines.iter().find(|line| line.id == slot).unwrap();
        assert_eq!(line.attempt, 2, "begun by one, finished by another");
    }
}

#[test]
fn an_inbox_writes_one_row_per_slot_whatever_the_number_of_processes() {
    let directory = tempfile::tempdir().unwrap();
    let database = directory.path().join("app.db");
    let args = ["--every", "1", "--missed", "all", "--store", "sqlite:app.db", "--class", "inbox"];
    let processes: Vec<_> = (0..2).map(|_| start(PROGRAM, directory.path(), &args)).collect();
    let rows = || ackonce_cli::ledger::sqlite::read(&database, 0).unwrap_or_default();
    wait_until("three slots have run", || rows().len() >= 3);
    processes.into_iter().for_each(|process| process.end());
    let mut slots: Vec<u64> = rows().iter().map(|row| row.id.parse().unwrap()).collect();
    slots.sort_unstable();
    let all: Vec<u64> = (0..slots.len() as u64).map(|n| slots[0] + n * 1000).collect();
    assert_eq!(slots, all, "each slot once, and none left out");
    assert!(!directory.path().join("ledger.jsonl").exists());
}
