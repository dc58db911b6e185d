//! Both proofs at a size for every day.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::process::{Command, Stdio};

use serde_json::Value;

/// The result of a run that kept its promise.
fn kept(words: &[&str]) -> Value {
    let directory = tempfile::tempdir().unwrap();
    let mut program = Command::new(env!("CARGO_BIN_EXE_prove-scale"));
    program.args(words).arg("--directory").arg(directory.path());
    let output = program.stderr(Stdio::inherit()).output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{} {said}", output.status);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "everything is removed");
    serde_json::from_str(&said).unwrap()
}

#[test]
fn no_id_is_forgotten_or_taken_for_a_known_one_through_kills() {
    let result = &kept(&["remember", "--ids", "40000", "--kills", "3", "--seed", "2"])["remembered"];
    assert_eq!(result["ids"], 40_000);
    assert!(result["kills"].as_u64() > Some(0), "{result}");
    assert!(result["asked"].as_u64() >= Some(40_000), "{result}");
}

#[test]
fn deliveries_in_batches_lose_nothing_through_kills() {
    let result = &kept(&["deliver", "--deliveries", "10000", "--kill-every-ms", "700"])["delivered"];
    assert_eq!((&result["deliveries"], &result["messages"]), (&10_000.into(), &8000.into()));
    assert!(result["effects"].as_u64() >= Some(8000), "{result}");
}
