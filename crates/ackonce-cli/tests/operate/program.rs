//! The program.

use std::process::{Command, Output, Stdio};

/// The program, without settings from the environment of the tests.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    let names = std::env::vars_os().map(|(name, _)| name);
    for name in names.filter(|name| name.to_string_lossy().starts_with("ACKONCE_")) {
        command.env_remove(name);
    }
    command.args(args).env("RUST_BACKTRACE", "1").env("RUST_LOG", "off").stdin(Stdio::null());
    command
}

pub(crate) fn run(args: &[&str]) -> Output {
    command(args).output().unwrap()
}

/// The standard output of a run that must succeed.
pub(crate) fn output(args: &[&str]) -> String {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The JSON objects that a run prints, a line each.
pub(crate) fn json(args: &[&str]) -> Vec<serde_json::Value> {
    let text = output(&[args, &["--json"]].concat());
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A run that must fail with this exit code and one sentence with these parts, without a secret.
pub(crate) fn refused(args: &[&str], code: i32, parts: &[&str]) {
    let output = run(args);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{args:?} lacks {part:?}: {said}");
    }
    assert!(!said.contains("s3cret") && !said.contains("panicked") && !said.contains("backtrace"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{args:?}: {said}");
    assert!(output.stdout.is_empty(), "{args:?}: {}", String::from_utf8_lossy(&output.stdout));
}
