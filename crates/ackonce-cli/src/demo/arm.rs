//! The three consumers that are compared.

use std::fs::File;
use std::path::{Path, PathBuf};

use ackonce_testkit::crash::History;
use serde::{Deserialize, Serialize};

/// One of the consumers that are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Arm {
    /// Wrapped in Ackonce.
    Ackonce,
    /// By hand: the ID goes into a table, then the handler runs.
    RecordThenRun,
    /// By hand: the handler runs, then the ID goes into a table.
    RunThenRecord,
}

impl Arm {
    pub(crate) const ALL: [Self; 3] = [Self::Ackonce, Self::RecordThenRun, Self::RunThenRecord];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ackonce => "ackonce",
            Self::RecordThenRun => "record-then-run",
            Self::RunThenRecord => "run-then-record",
        }
    }
}

/// The files of one arm, in a directory of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ArmFiles {
    directory: PathBuf,
}

impl ArmFiles {
    pub(crate) fn create(parent: &Path, arm: Arm) -> std::io::Result<Self> {
        let directory = parent.join(arm.name());
        std::fs::create_dir(&directory)?;
        Ok(Self { directory })
    }

    /// Effects as JSON lines, where they are not rows of a database.
    pub(crate) fn ledger(&self) -> PathBuf {
        self.directory.join("ledger.jsonl")
    }

    /// The workers' stderr.
    pub(crate) fn log(&self) -> PathBuf {
        self.directory.join("workers.log")
    }

    /// Writes down each strike and its time, for the study of a broken promise.
    pub(crate) fn write_history(&self, history: &History) -> anyhow::Result<()> {
        let file = File::create(self.directory.join("history.json"))?;
        Ok(serde_json::to_writer_pretty(file, history)?)
    }

    /// The database of a hand-written loop.
    pub(crate) fn database(&self) -> PathBuf {
        self.directory.join("app.db")
    }

    /// A [`FileCounter`](super::counter::FileCounter) of that name.
    pub(crate) fn counter(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}
