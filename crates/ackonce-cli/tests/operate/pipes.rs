//! Readers that have left, and a disk that is full.

use std::fs::OpenOptions;
use std::process::{Command, Stdio};

use crate::program::command;

/// A pipe whose reader has left.
fn pipe() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// Exit code and standard error.
fn ended(mut command: Command, stdout: Stdio) -> (Option<i32>, String) {
    let output = command.stdout(stdout).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_reader_that_has_left_is_no_failure_and_a_full_disk_is_one_of_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", dir.path().join("dedup.db").display());
    crate::program::output(&["schema", "--apply", "--yes", "--store", &store]);
    let proxy =
        ["proxy", "--listen", "127.0.0.1:0", "--upstream", "http://127.0.0.1:1", "--principal", "none"];
    for args in [
        [&proxy[..], &["--store", &store, "--check"]].concat(),
        vec!["console", "--store", &store, "--check"],
        vec!["watch", "--store", &store, "--check"],
        vec!["relay", "--from", "kafka://h/t?group=g", "--to", "stdout:", "--store", &store, "--check"],
        vec!["list", "--store", &store],
        vec!["doctor", "--store", &store],
        vec!["doctor", "--list"],
        vec!["man"],
    ] {
        assert_eq!(ended(command(&args), pipe()), (Some(0), String::new()), "{args:?}");
        let (code, said) = ended(command(&args), full());
        assert_eq!(code, Some(3), "{args:?}: {said}");
        assert!(said.starts_with("error: standard output cannot be written"), "{args:?}: {said}");
    }
}

#[test]
fn an_error_that_nobody_can_read_has_its_exit_code_all_the_same() {
    for stderr in [pipe, full] {
        let code = |args: &[&str]| command(args).stderr(stderr()).status().unwrap().code();
        assert_eq!(code(&["stats", "--store", "sqlite:/nowhere/at/all.db"]), Some(3));
        assert_eq!(code(&["stats", "--store", "memory:"]), Some(2));
        assert_eq!(code(&["lst"]), Some(2));
        assert_eq!(code(&["demo", "--kills", "0", "--messages", "0"]), Some(2));
    }
}
