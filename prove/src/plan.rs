//! The plan of a run, as its worker processes get it.

use std::path::{Path, PathBuf};

use ackonce::Class;
use ackonce_testkit::lines;
use ackonce_tests::drivers::Driver;
use ackonce_tests::feed::Share;
use serde::{Deserialize, Serialize};

use crate::rival::Rival;

/// The source of the messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Place {
    /// A file that grows; each worker is responsible for its share of the lines until it has acknowledged them.
    Feed,
    /// A topic, by its bootstrap servers.
    Kafka { brokers: String, topic: String },
    /// A queue, by the broker's URL.
    Rabbitmq { url: String, queue: String },
}

/// The way in which a worker processes a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    AtMostOnce,
    Leased,
    Keyed,
    Inbox,
    /// A loop by hand that marks the ID, then runs: it must lose.
    RecordThenRun,
    /// A loop by hand that runs, then marks the ID: it must double.
    RunThenRecord,
}

impl Mode {
    /// The class; `None` for the loops by hand.
    pub(crate) fn class(self) -> Option<Class> {
        match self {
            Self::AtMostOnce => Some(Class::AtMostOnce),
            Self::Leased => Some(Class::Leased),
            Self::Keyed => Some(Class::Keyed),
            Self::Inbox => Some(Class::Inbox),
            Self::RecordThenRun | Self::RunThenRecord => None,
        }
    }
}

/// The protocol of a Kafka group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Group {
    #[default]
    Eager,
    Cooperative,
    /// Eager, and the broker knows each worker by name
    Static,
    /// KIP-848
    Consumer,
}

/// The plan of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) place: Place,
    /// The store's URL, as the workers see it: behind a proxy where the network is a fault.
    pub(crate) store: String,
    /// The schema of a PostgreSQL store.
    pub(crate) schema: String,
    pub(crate) mode: Mode,
    /// Another library's worker, instead of one of ours.
    pub(crate) rival: Option<Rival>,
    /// The library of an inbox on PostgreSQL.
    pub(crate) driver: Driver,
    pub(crate) group: Group,
    pub(crate) lease_ms: u64,
    pub(crate) workers: usize,
    /// The number of this worker, from 0; a guest of a rebalance has none of the feed's lines.
    pub(crate) worker: usize,
}

/// The scope of every run.
pub(crate) const SCOPE: &str = "prove";

impl Plan {
    /// The deliveries of the feed: an ID a line.
    pub(crate) fn feed(&self) -> PathBuf {
        self.dir.join("feed")
    }

    /// The lines of the feed that this worker is delivered.
    pub(crate) fn share(&self) -> Share {
        Share {
            feed: self.feed(),
            acks: acks(&self.dir, self.worker),
            worker: self.worker,
            workers: self.workers,
        }
    }

    /// The lines of the feed that all workers have acknowledged.
    pub(crate) fn acknowledged(&self) -> std::io::Result<usize> {
        (0..self.workers).map(|worker| Ok(lines::read(acks(&self.dir, worker))?.len())).sum()
    }

    /// The effects, unless they are in the store's own database.
    pub(crate) fn effects(&self) -> PathBuf {
        self.dir.join("effects.jsonl")
    }

    /// The runs of handlers, from their beginning.
    pub(crate) fn starts(&self) -> PathBuf {
        self.dir.join("starts.jsonl")
    }

    /// The effects of handlers that were cancelled before they returned.
    pub(crate) fn cancelled(&self) -> PathBuf {
        self.dir.join("cancelled.jsonl")
    }

    /// The records of the loops by hand.
    pub(crate) fn seen(&self) -> PathBuf {
        self.dir.join("seen.db")
    }
}

fn acks(dir: &Path, worker: usize) -> PathBuf {
    dir.join(format!("acks-{worker}"))
}
