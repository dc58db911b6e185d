//! The table of all checks: the one source of their names, severities, meanings, consequences and fixes.

use serde::Serialize;

/// The weight of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A fault that may come (a power cut, a failover, a full disk) loses or doubles messages, or stops the work.
    Weakened,
    /// Ordinary work loses or doubles messages, or nothing can run at all.
    Broken,
}

impl Severity {
    /// Its word in tables.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Weakened => "weakened",
            Self::Broken => "broken",
        }
    }
}

/// One check.
#[derive(Debug)]
pub struct Check {
    /// Its name, for `--accept` and scripts.
    pub name: &'static str,
    /// The weight of its finding.
    pub severity: Severity,
    /// The sound state.
    pub sound: &'static str,
    /// The consequence of any other state.
    pub consequence: &'static str,
    /// The setting or the command that mends it.
    pub fix: &'static str,
}

macro_rules! checks {
    ($($id:ident: $severity:ident $name:literal, $sound:literal, $consequence:literal, $fix:literal;)*) => {
        use super::{Check, Severity};

        $(pub(in crate::doctor) static $id: Check = Check {
            name: $name,
            severity: Severity::$severity,
            sound: $sound,
            consequence: $consequence,
            fix: $fix,
        };)*
        pub(super) static ALL: &[&Check] = &[$(&$id),*];
    };
}

pub(super) mod amqp;
pub(super) mod kafka;
pub(super) mod letters;
pub(super) mod messages;
pub(super) mod postgres;
pub(super) mod redis;
pub(super) mod settings;
pub(super) mod sqlite;
pub(super) mod webhook;

/// All checks, subject by subject: the stores, the sources, their messages, the relay's settings.
pub fn all() -> impl Iterator<Item = &'static Check> {
    let subjects = [
        redis::ALL,
        postgres::ALL,
        sqlite::ALL,
        kafka::ALL,
        letters::ALL,
        amqp::ALL,
        webhook::ALL,
        messages::ALL,
        settings::ALL,
    ];
    subjects.into_iter().flatten().copied()
}
