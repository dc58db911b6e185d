//! The RabbitMQ example as the README runs it, on a real RabbitMQ.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use ackonce_testkit::ledger::Ledger;
use ackonce_tests::amqp::{Kind, Rabbit};
use ackonce_tests::until;
use ackonce_tests::worker::Worker;

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
