//! A RabbitMQ consumer process that obeys its messages, and can be killed.

use std::path::{Path, PathBuf};
use std::process::Command;

use ackonce_testkit::ledger::{Ledger, LedgerEntry};

use super::Rabbit;
use crate::worker::{Worker, binary};

/// The task of a worker process, as one JSON argument.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// The broker's address.
    pub url: String,
    /// The queue; also the scope.
    pub queue: String,
    /// `leased`, `keyed` or `inbox`.
    pub class: String,
    /// The SQLite file.
    pub db: PathBuf,
    /// The ledger; with class inbox it is the table `ledger` of the file above.
    pub ledger: PathBuf,
    /// Settings::attempts.
    pub attempts: u32,
    /// Settings::concurrency.
    pub concurrency: usize,
    /// The prefetch; the consumer's default if `None`.
    pub prefetch: Option<u16>,
    /// Settings::lease, in milliseconds.
    pub lease_ms: u64,
    /// The time of each handler, in milliseconds.
    pub work_ms: u64,
    /// One message after another.
    pub ordered: bool,
    /// The queue for dead letters, if any.
    pub dead_letters: Option<String>,
    /// The management API, if it is to be asked.
    pub management: Option<String>,
}

impl Plan {
    /// Defaults for one queue, with files in `dir`.
    pub fn new(rabbit: &Rabbit, queue: &str, dir: &Path) -> Self {
        Self {
            url: rabbit.url().to_owned(),
            queue: queue.to_owned(),
            class: "leased".to_owned(),
            db: dir.join("dedup.db"),
            ledger: dir.join("ledger.jsonl"),
            attempts: 3,
            concurrency: 16,
            prefetch: None,
            lease_ms: 2000,
            work_ms: 0,
            ordered: false,
            dead_letters: None,
            management: None,
        }
    }

    /// As it was handed over.
    ///
    /// # Errors
    /// It is not such a plan.
    pub fn from_json(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// The command of such a worker.
    pub fn command(&self) -> Command {
        let mut command = Command::new(binary("e2e-amqp-worker"));
        command.arg(serde_json::to_string(self).unwrap());
        command
    }

    /// Starts a worker. Dropping the handle kills it.
    pub fn start(&self) -> Worker {
        Worker::start(&mut self.command())
    }

    /// The same, with its output in a file.
    pub fn start_logged(&self, log: &Path) -> Worker {
        let log = std::fs::File::create(log).unwrap();
        Worker::start(self.command().stderr(log))
    }

    /// The effects in the ledger file so far, in order.
    pub fn effects(&self) -> Vec<LedgerEntry> {
        Ledger::read(&self.ledger).unwrap().entries
    }

    /// The IDs whose effects happened so far, in order.
    pub fn ids(&self) -> Vec<String> {
        self.effects().into_iter().map(|e| e.id).collect()
    }
}
