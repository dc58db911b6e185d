//! A consumer process that obeys its messages, and can be killed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use ackonce_testkit::lines;
pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::kafka::Kafka;

/// The settings of a worker process, handed over as one JSON argument.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Bootstrap servers.
    pub brokers: String,
    /// The topic.
    pub topic: String,
    /// The group; also the scope.
    pub group: String,
    /// The SQLite file.
    pub db: PathBuf,
    /// The effects: a line `id attempt pid` each.
    pub effects: PathBuf,
    /// `partition` or `key`.
    pub order: &'static str,
    /// Settings::attempts.
    pub attempts: u32,
    /// `range` (eager) or `cooperative-sticky`; empty for `group.protocol=consumer`.
    pub assignor: &'static str,
    /// `group.instance.id`, if any.
    pub instance: Option<String>,
    /// Retry topics and their delays in milliseconds.
    pub retry_topics: Vec<(String, u64)>,
    /// Between two commits.
    pub commit_interval_ms: u64,
    /// The dead-letter topic, if any.
    pub dead_letters: Option<String>,
    /// Handlers at once.
    pub concurrency: usize,
}

/// One line of the effects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    /// The message ID.
    pub id: String,
    /// The attempt.
    pub attempt: u32,
    /// The process.
    pub pid: u32,
}

impl Plan {
    /// Defaults for one topic, with files in `dir`.
    pub fn new(kafka: &Kafka, topic: &str, dir: &Path) -> Self {
        Self {
            brokers: kafka.brokers().to_owned(),
            topic: topic.to_owned(),
            group: format!("{topic}-group"),
            db: dir.join("dedup.db"),
            effects: dir.join("effects"),
            order: "key",
            attempts: 3,
            assignor: "range",
            instance: None,
            retry_topics: Vec::new(),
            commit_interval_ms: 200,
            dead_letters: None,
            concurrency: 16,
        }
    }

    /// Starts a worker. Dropping the handle kills it.
    pub fn start(&self) -> Worker {
        let json = serde_json::json!({
            "brokers": self.brokers, "topic": self.topic, "group": self.group, "db": self.db,
            "effects": self.effects, "order": self.order, "attempts": self.attempts,
            "assignor": self.assignor, "dead_letters": self.dead_letters, "concurrency": self.concurrency,
            "instance": self.instance, "retry_topics": self.retry_topics, "commit_interval": self.commit_interval_ms,
        });
        Worker::start(Command::new(binary("e2e-worker")).arg(json.to_string()))
    }

    /// The effects so far.
    pub fn effects(&self) -> Vec<Effect> {
        lines::read(&self.effects).unwrap().iter().map(|line| parse(line)).collect()
    }

    /// The IDs whose effects happened so far, in order.
    pub fn ids(&self) -> Vec<String> {
        self.effects().into_iter().map(|e| e.id).collect()
    }
}

fn parse(line: &str) -> Effect {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap_or_else(|| panic!("no effect: {line}"));
    Effect { id: next().into(), attempt: next().parse().unwrap(), pid: next().parse().unwrap() }
}

/// A worker program beside the running test in the target folder.
pub fn binary(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.join(name)
}

/// A running worker.
#[derive(Debug)]
pub struct Worker(Child);

impl Worker {
    /// Starts one. Dropping the handle kills it.
    pub fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap_or_else(|e| panic!("{command:?}: {e}")))
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// SIGKILL, and waits for it.
    pub fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }

    /// SIGTERM, and waits: true if it ended with exit code 0.
    pub fn terminate(&mut self) -> bool {
        self.signal(Signal::TERM);
        self.0.wait().unwrap().success()
    }

    /// Stops (`STOP`) or continues (`CONT`) it, say.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).unwrap();
    }

    /// Waits for it to end by itself; true if it was by a signal, an abort for instance.
    pub fn ended_by_signal(&mut self) -> bool {
        use std::os::unix::process::ExitStatusExt;
        self.0.wait().unwrap().signal().is_some()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
