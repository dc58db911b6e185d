//! `ackonce doctor` as a user runs it: real servers that are set up wrongly, each in one way, and sound ones.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod amqp;
mod kafka;
mod own;
mod postgres;
mod redis;
mod sqlite;
mod usage;
mod webhook;

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

pub(crate) fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    command.arg("doctor");
    command
}

/// The result of one examination.
pub(crate) struct Examined {
    pub(crate) code: i32,
    pub(crate) json: Value,
    pub(crate) said: String,
}

impl Examined {
    /// With these arguments and `--json`.
    pub(crate) fn of(args: &[&str]) -> Self {
        Self::by(program(), args)
    }

    pub(crate) fn by(mut command: Command, args: &[&str]) -> Self {
        let output = command.args(args).arg("--json").output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        Self { code: output.status.code().unwrap(), json, said }
    }

    fn names(&self, of: &str) -> BTreeSet<&str> {
        let rows = self.json[of].as_array().unwrap_or_else(|| panic!("no {of}: {} {}", self.json, self.said));
        let counts = rows.iter().filter(|row| row["accepted"] == false);
        counts.map(|row| row["check"].as_str().unwrap()).collect()
    }

    /// Demands these findings, no other, every check made, and that exit code.
    pub(crate) fn finds(&self, names: &[&str], code: i32) -> &Self {
        let expected: BTreeSet<_> = names.iter().copied().collect();
        assert_eq!(self.names("findings"), expected, "{:#} {}", self.json, self.said);
        assert_eq!(self.names("not_checked"), BTreeSet::new(), "{:#}", self.json);
        assert_eq!(self.code, code, "{:#} {}", self.json, self.said);
        self
    }

    /// Demands silence: no finding, every check made, exit code 0.
    pub(crate) fn is_sound(&self) -> &Self {
        self.finds(&[], 0);
        assert_eq!(self.json["verdict"], "sound");
        self
    }

    /// Demands that these checks could not be made, and at least one reason with that text.
    pub(crate) fn leaves_out(&self, names: &[&str], why: &str) -> &Self {
        let left = self.names("not_checked");
        assert!(names.iter().all(|name| left.contains(name)), "{names:?}: {:#}", self.json);
        assert!(self.json["not_checked"].to_string().contains(why), "{why}: {:#}", self.json);
        assert_eq!(self.code, 1, "{:#}", self.json);
        self
    }
}
