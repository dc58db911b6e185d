//! The RabbitMQ example as the README runs it, on a real RabbitMQ.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::path::Path;
use std::process::Command;

use ackonce_testkit::ledger::Ledger;
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;
use ackonce_tests::worker::Worker;
use common::{get, ledger, postgres, rows};

fn produce(rabbit: &Rabbit, queue: &str, messages: &str) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_produce"));
    command.args(["--url", rabbit.url(), "--queue", queue, "--messages", messages]);
    assert!(command.status().unwrap().success());
}

fn handler(rabbit: &Rabbit, queue: &str, directory: &Path, args: &[&str]) -> Worker {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rabbitmq_handler"));
    command.args(["--url", rabbit.url(), "--queue", queue]).args(args).current_dir(directory);
    Worker::start(&mut command)
}

#[tokio::test]
async fn published_twice_and_failed_at_first_each_message_has_one_line_on_both_types_of_queue() {
    let Some(rabbit) = Rabbit::real() else { return };
    for kind in [Kind::Classic, Kind::Quorum] {
        let directory = tempfile::tempdir().unwrap();
        let queue = rabbit.queue("orders", kind).await;
        produce(&rabbit, &queue, "20");
        produce(&rabbit, &queue, "20");
        let args = ["--fail-first", "1", "--class", "keyed", "--prefetch", "10"];
        let mut child = handler(&rabbit, &queue, directory.path(), &args);
        rabbit.until_empty(&queue).await;
        let lines = Ledger::read(directory.path().join("ledger.jsonl")).unwrap().entries;
        let mut ids: Vec<_> = lines.iter().map(|line| line.id.as_str()).collect();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!((ids.len(), lines.len()), (20, 20));
        assert!(
            lines.iter().all(|line| line.attempt == 2 && line.pid == child.pid() && line.key.len() == 36)
        );
        assert!(child.terminate(), "it drains and exits 0");
    }
}

#[tokio::test]
async fn what_is_missing_is_declared_and_what_always_fails_is_a_dead_letter() {
    let Some(rabbit) = Rabbit::real() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (queue, dead) = (rabbit.name("new"), rabbit.name("dead"));
    produce(&rabbit, &queue, "3");
    let args = ["--fail-first", "9", "--attempts", "2", "--dead-letter", &dead, "--id", "json:/id"];
    let mut child = handler(&rabbit, &queue, directory.path(), &args);
    rabbit.until_messages(&dead, 3, 0).await;
    rabbit.until_empty(&queue).await;
    assert!(child.terminate(), "it drains and exits 0");
}

#[tokio::test]
async fn an_inbox_writes_rows() {
    let Some(rabbit) = Rabbit::real() else { return };
    let directory = tempfile::tempdir().unwrap();
    let queue = rabbit.name("rows");
    produce(&rabbit, &queue, "5");
    let args = ["--store", "sqlite:app.db", "--class", "inbox", "--delay-ms", "5"];
    let mut child = handler(&rabbit, &queue, directory.path(), &args);
    let database = directory.path().join("app.db");
    let rows = || ackonce_cli::ledger::sqlite::read(&database, 0).unwrap_or_default().len();
    until("each message is a row", || rows() == 5).await;
    rabbit.until_empty(&queue).await;
    assert!(child.terminate(), "it drains and exits 0");
    assert_eq!(rows(), 5);
    assert!(!directory.path().join("ledger.jsonl").exists());
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_rabbitmq_handler");

#[tokio::test(flavor = "multi_thread")]
async fn the_next_url_is_tried_and_messages_fail_as_asked_and_metrics_and_health_can_be_read() {
    let Some(rabbit) = Rabbit::real() else { return };
    let directory = tempfile::tempdir().unwrap();
    let queue = rabbit.name("admin");
    produce(&rabbit, &queue, "6");
    let away = "amqp://guest:guest@127.0.0.1:1/%2f";
    let mut args = vec!["--url", away, "--url", rabbit.url(), "--queue", &queue, "--admin", "127.0.0.1:0"];
    args.extend(["--on", "order-1=permanent", "--on", "order-2=hang", "--on", "order-3=infrastructure"]);
    let mut process = common::start(PROGRAM, directory.path(), &args);
    let address = process.address();
    until("three messages have their effects", || ledger(directory.path()).len() == 3).await;
    until("one is buried", || {
        let metrics = get(&address, "/metrics", "*/*").2;
        metrics.lines().any(|line| line.starts_with("ackonce_buried_total{") && line.ends_with(" 1"))
    })
    .await;
    assert!(get(&address, "/healthz", "*/*").2.starts_with("live"));
    let (status, _, json) = get(&address, "/healthz", "application/json");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((status, &json["live"]), (200, &true.into()));
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_inbox_writes_rows_of_a_postgres() {
    let (Some(rabbit), Some(store)) = (Rabbit::real(), postgres("rabbitmq")) else { return };
    let directory = tempfile::tempdir().unwrap();
    let queue = rabbit.name("rows");
    produce(&rabbit, &queue, "20");
    let args = ["--store", &store, "--class", "inbox", "--fail-first", "1", "--on", "order-7=permanent"];
    let mut child = handler(&rabbit, &queue, directory.path(), &args);
    rabbit.until_empty(&queue).await;
    assert!(child.terminate(), "it drains and exits 0");
    let rows = rows(&store).await;
    assert!(rows.len() == 19 && rows.iter().all(|row| row.attempt == 2 && row.id != "order-7"), "{rows:?}");
    assert!(!directory.path().join("ledger.jsonl").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_is_buried_or_ends_the_consumer_with_3_as_asked() {
    let Some(rabbit) = Rabbit::real() else { return };
    let directory = tempfile::tempdir().unwrap();
    let queue = rabbit.queue("no-id", Kind::Classic).await;
    rabbit.connect().await.publish(&queue, None, b"{}").await;
    let mut command = Command::new(PROGRAM);
    command.args(["--url", rabbit.url(), "--queue", &queue, "--on-missing", "stop"]);
    command.current_dir(directory.path()).env("RUST_LOG", "off");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<_> = text.lines().filter(|line| !line.starts_with("class ")).collect();
    assert_eq!((output.status.code(), errors.len()), (Some(3), 1), "{text}");
    assert!(errors[0].starts_with(&format!("error: consuming {queue} at ")), "{text}");
    let mut child = handler(&rabbit, &queue, directory.path(), &["--on-missing", "bury"]);
    rabbit.until_empty(&queue).await;
    assert!(child.terminate(), "it drains and exits 0");
}
