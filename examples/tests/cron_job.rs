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
