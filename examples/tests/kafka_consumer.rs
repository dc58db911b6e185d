//! The Kafka example as the README runs it, against librdkafka's mock cluster.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ackonce_testkit::ledger::{Entry, Ledger};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

type Mock = MockCluster<'static, DefaultProducerContext>;

fn broker() -> Mock {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("orders", 2, 1).unwrap();
    mock
}

fn produce(mock: &Mock, messages: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_produce"));
    command.args(["--brokers", &mock.bootstrap_servers(), "--messages", messages]);
    assert!(command.status().unwrap().success());
}

fn consumer(mock: &Mock, directory: &Path, args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafka_consumer"));
    command.args(["--brokers", &mock.bootstrap_servers()]).args(args).current_dir(directory);
    command.stderr(Stdio::inherit()).spawn().unwrap()
}

/// SIGTERM; it drains and exits 0.
fn end(mut child: Child) {
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

fn wait_for(count: usize, mut entries: impl FnMut() -> Vec<Entry>) -> Vec<Entry> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let found = entries();
        if found.len() >= count || Instant::now() > until {
            assert_eq!(found.len(), count, "{found:?}");
            return found;
        }
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn published_twice_and_failed_at_first_each_message_has_one_line() {
    let (mock, directory) = (broker(), tempfile::tempdir().unwrap());
    produce(&mock, "20");
    produce(&mock, "20");
    let child =
        consumer(&mock, directory.path(), &["--fail-first", "1", "--class", "keyed", "--order", "key"]);
    let ledger = directory.path().join("ledger.jsonl");
    let lines = wait_for(20, || Ledger::read(&ledger).unwrap().entries);
    let mut ids: Vec<_> = lines.iter().map(|line| line.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 20);
    assert!(lines.iter().all(|line| line.attempt == 2 && line.pid == child.id() && line.key.len() == 36));
    end(child);
    assert_eq!(Ledger::read(&ledger).unwrap().entries.len(), 20);
}

#[test]
fn an_inbox_writes_rows_and_another_scope_runs_again() {
    let (mock, directory) = (broker(), tempfile::tempdir().unwrap());
    produce(&mock, "5");
    let database = directory.path().join("app.db");
    let args = ["--store", "sqlite:app.db", "--class", "inbox", "--id", "json:/id", "--delay-ms", "5"];
    let run = |scope: &str, group: &str, rows: usize| {
        // A group that is new reads the topic from its beginning.
        let child =
            consumer(&mock, directory.path(), &[&args[..], &["--scope", scope, "--group", group]].concat());
        wait_for(rows, || ackonce_cli::ledger::sqlite::read(&database, 0).unwrap_or_default());
        end(child);
    };
    run("one", "a", 5);
    run("two", "b", 10);
    produce(&mock, "6");
    run("one", "c", 11);
    assert!(!directory.path().join("ledger.jsonl").exists());
}

#[test]
fn class_inbox_without_a_database_says_what_to_use() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafka_consumer"));
    let output = command.args(["--store", "memory:", "--class", "inbox"]).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("use --store sqlite:PATH"));
}
