//! The Kafka example as the README runs it, against librdkafka's mock cluster, and with all its flags on a real Kafka
//! where there is one.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ackonce_testkit::ledger::{Ledger, LedgerEntry};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use common::{get, ledger, postgres, rows};
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

fn wait_for(count: usize, mut entries: impl FnMut() -> Vec<LedgerEntry>) -> Vec<LedgerEntry> {
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
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("use --store sqlite:PATH or postgres://"));
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_kafka_consumer");

/// A topic with those orders, and the flags that consume it.
async fn topic(kafka: &Kafka, partitions: i32, orders: &[&str]) -> (String, [String; 6]) {
    let topic = kafka.name("example");
    kafka.create(&topic, partitions).await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_produce"));
    let status = command.args(["--brokers", kafka.brokers(), "--topic", &topic]).args(orders).status();
    assert!(status.unwrap().success());
    let flags = ["--brokers", kafka.brokers(), "--topic", &topic, "--group", &topic].map(str::to_owned);
    (topic, flags)
}

fn ids(entries: &[LedgerEntry]) -> Vec<&str> {
    let mut ids: Vec<_> = entries.iter().map(|entry| entry.id.as_str()).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn its_messages_fail_as_asked_and_its_metrics_and_its_health_can_be_read() {
    let (kafka, directory) = (Kafka::get(), tempfile::tempdir().unwrap());
    let (_, flags) = topic(&kafka, 2, &["--messages", "6"]).await;
    let mut args: Vec<&str> = flags.iter().map(String::as_str).collect();
    // The property is the one that counts: nobody listens at the other address.
    let set = format!("bootstrap.servers={}", kafka.brokers());
    args[1] = "127.0.0.1:1";
    args.extend(["--set", &set, "--set", "client.id=example"]);
    args.extend(["--order", "none", "--max-in-flight", "50", "--admin", "0"]);
    args.extend(["--on", "order-1=permanent", "--on", "order-2=hang", "--on", "order-3=infrastructure"]);
    let mut process = common::start(PROGRAM, directory.path(), &args);
    let address = process.address();
    until("three messages have their effects", || ledger(directory.path()).len() == 3).await;
    assert_eq!(ids(&ledger(directory.path())), ["order-4", "order-5", "order-6"]);
    until("one is buried", || {
        let (status, head, metrics) = get(&address, "/metrics", "*/*");
        assert!(status == 200 && head.to_lowercase().contains("text/plain"), "{head}");
        let buried = metrics.lines().find(|line| line.starts_with("ackonce_buried_total{"));
        buried.is_some_and(|line| line.ends_with(" 1") && line.contains("class=\"leased\""))
    })
    .await;
    let (status, head, text) = get(&address, "/healthz", "*/*");
    assert!(status == 200 && head.to_lowercase().contains("text/plain"), "{head}");
    assert!(text.starts_with("live"), "{text}");
    let (status, _, json) = get(&address, "/healthz", "application/json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &json["live"], json["report"].is_array()), (200, &true.into(), true));
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_writes_rows_of_a_postgres_and_their_failures_are_undone() {
    let Some(store) = postgres("kafka") else { return };
    let (kafka, directory) = (Kafka::get(), tempfile::tempdir().unwrap());
    let (_, flags) = topic(&kafka, 2, &["--messages", "20"]).await;
    let mut args: Vec<&str> = flags.iter().map(String::as_str).collect();
    args.extend(["--store", &store, "--class", "inbox", "--fail-first", "1", "--delay-ms", "1"]);
    args.extend(["--on", "order-7=permanent", "--order", "key"]);
    let process = common::start(PROGRAM, directory.path(), &args);
    let end = Instant::now() + Duration::from_secs(120);
    while rows(&store).await.len() < 19 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::task::spawn_blocking(|| process.end()).await.unwrap();
    let rows = rows(&store).await;
    let mut all: Vec<_> = (1..=20).filter(|n| *n != 7).map(|n| format!("order-{n}")).collect();
    all.sort_unstable();
    assert_eq!(ids(&rows), all);
    assert!(rows.iter().all(|row| row.attempt == 2 && row.key.len() == 36));
    assert!(!directory.path().join("ledger.jsonl").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_is_buried_or_ends_the_consumer_with_3_as_asked() {
    let (kafka, directory) = (Kafka::get(), tempfile::tempdir().unwrap());
    let (topic, flags) = topic(&kafka, 1, &["--messages", "2", "--no-id"]).await;
    let mut args: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut command = Command::new(PROGRAM);
    command.args(&args).args(["--on-missing", "stop"]).current_dir(directory.path()).env("RUST_LOG", "off");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<_> = text.lines().filter(|line| !line.starts_with("class ")).collect();
    assert_eq!((output.status.code(), errors.len()), (Some(3), 1), "{text}");
    let place = format!("error: consuming {topic} at {}", kafka.brokers());
    assert!(errors[0].starts_with(&place) && errors[0].contains("message ID"), "{text}");
    args.extend(["--on-missing", "bury"]);
    let process = common::start(PROGRAM, directory.path(), &args);
    until("both are buried and committed", || kafka.committed(&topic, &topic, 0) == Some(2)).await;
    tokio::task::spawn_blocking(|| process.end()).await.unwrap();
}
