//! How examples end: 2 for wrong flags, 3 and one line for an error, 0 for a signal.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use ackonce_testkit::proxy::Proxy;
use rustix::process::{Pid, Signal, kill_process};

const KAFKA: &str = env!("CARGO_BIN_EXE_kafka_consumer");
const RABBITMQ: &str = env!("CARGO_BIN_EXE_rabbitmq_handler");
const CRON: &str = env!("CARGO_BIN_EXE_cron_job");
const STRIPE: &str = env!("CARGO_BIN_EXE_stripe_webhooks");
const PAYMENTS: &str = env!("CARGO_BIN_EXE_payments_api");

/// Where nobody listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

/// Its exit code, and the lines of its stderr that do not tell what is promised on the store.
fn end(program: &str, args: &[&str]) -> (Option<i32>, Vec<String>) {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(program)
        .args(args)
        .current_dir(directory.path())
        .env("RUST_BACKTRACE", "1")
        .env("RUST_LOG", "off")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with("class ")).map(str::to_owned);
    (output.status.code(), lines.collect())
}

#[test]
fn wrong_flags_are_2_and_name_the_flag() {
    let cases: [(&str, &[&str], &str); 29] = [
        (KAFKA, &["--on", "order-1"], "--on"),
        (
            KAFKA,
            &["--on", "order-1=explode"],
            "infrastructure, retry, permanent, unknown, panic, abort, hang",
        ),
        (KAFKA, &["--set", "client.id"], "--set"),
        (KAFKA, &["--set", "=x"], "--set"),
        (KAFKA, &["--max-in-flight", "0"], "--max-in-flight"),
        (KAFKA, &["--retry-topics", "later"], "--retry-topics"),
        (KAFKA, &["--retry-topics", "later=soon"], "--retry-topics"),
        (KAFKA, &["--retry-topics", "later=-1"], "--retry-topics"),
        (KAFKA, &["--order", "any"], "--order"),
        (KAFKA, &["--on-missing", "skip"], "--on-missing"),
        (KAFKA, &["--admin", "nowhere"], "--admin"),
        (KAFKA, &["--on-start", "x"], "--on-start"),
        (KAFKA, &["--store", "memory:", "--class", "inbox"], "use --store sqlite:PATH or postgres://"),
        (RABBITMQ, &["--store", "memory:", "--class", "inbox"], "use --store sqlite:PATH or postgres://"),
        (RABBITMQ, &["--admin", "127.0.0.1"], "--admin"),
        (RABBITMQ, &["--url", "amqp://localhost", "--url", "http://u:s3cret@h"], "--url, number 2"),
        (
            CRON,
            &["--store", "redis://localhost", "--class", "inbox"],
            "use --store sqlite:PATH or postgres://",
        ),
        (CRON, &["--id", "key"], "--id"),
        (CRON, &["--every", "0"], "--every"),
        (STRIPE, &["--store", "memory:", "--class", "inbox", "--secret", "x"], "use --store sqlite:PATH"),
        (STRIPE, &[], "--secret"),
        (PAYMENTS, &["--class", "inbox"], "--class is of another example"),
        (PAYMENTS, &["--policy", "some"], "--policy"),
        (STRIPE, &["--secret", "x", "--window-s", "60"], "Settings::window is --window-s"),
        (KAFKA, &["--scope", "a/~b"], "--scope"),
        (KAFKA, &["--lease-ms", "0"], "Settings::lease is --lease-ms"),
        (RABBITMQ, &["--lease-ms", "0"], "Settings::lease is --lease-ms"),
        (PAYMENTS, &["--window-s", "0"], "Settings::window is --window-s"),
        (KAFKA, &["--dead-letter", "orders"], "KafkaConsumer::with_dead_letters is --dead-letter"),
    ];
    for (program, args, says) in cases {
        let (code, lines) = end(program, args);
        let text = lines.join("\n");
        assert_eq!(code, Some(2), "{args:?}: {text}");
        assert!(text.contains(says) && !text.contains("s3cret"), "{args:?}: {text}");
        assert!(!text.contains("stack backtrace"), "{args:?}: {text}");
    }
}

#[test]
fn flags_that_cannot_be_honoured_are_refused_before_anything_is_promised() {
    let cases: [(&str, &[&str]); 5] = [
        (KAFKA, &["--store", "redis://localhost", "--class", "inbox"]),
        (STRIPE, &["--store", "memory:", "--class", "inbox", "--secret", "x"]),
        (KAFKA, &["--lease-ms", "0"]),
        (STRIPE, &["--secret", " white space"]),
        (PAYMENTS, &["--scope", "a/~b"]),
    ];
    for (program, args) in cases {
        let directory = tempfile::tempdir().unwrap();
        let output = Command::new(program).args(args).current_dir(directory.path()).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && !text.contains("lost: never"), "{args:?}: {text}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "{args:?}");
    }
}

#[test]
fn an_error_is_3_and_one_line_that_names_cause_and_place() {
    let away = nowhere();
    let redis = format!("redis://me:s3cret@{away}");
    let amqp = format!("amqp://me:s3cret@{away}/%2f");
    let cases: Vec<(&str, Vec<&str>, Vec<&str>)> = vec![
        (
            KAFKA,
            vec!["--store", "sqlite:missing/x.db"],
            vec!["--store sqlite:missing/x.db", "create it first"],
        ),
        (KAFKA, vec!["--store", &redis, "--on-start", "end"], vec!["--store redis://me:***@", "refused"]),
        (
            KAFKA,
            vec!["--set", "no.such.property=1"],
            vec!["consuming orders at localhost:9092", "no.such.property"],
        ),
        (KAFKA, vec!["--ledger", "missing/x"], vec!["--ledger missing/x", "No such file"]),
        (KAFKA, vec!["--admin", "192.0.2.1:80"], vec!["--admin 192.0.2.1:80", "address"]),
        (
            RABBITMQ,
            [vec!["--on-start", "end", "--url"], vec![&amqp]].concat(),
            vec!["RabbitMQ at", "refused", "queue orders"],
        ),
        (
            CRON,
            vec!["--store", "sqlite:missing/x.db", "--class", "inbox"],
            vec!["--store sqlite:missing/x.db"],
        ),
        (STRIPE, vec!["--listen", "192.0.2.1:80", "--secret", "x"], vec!["--listen 192.0.2.1:80"]),
        (PAYMENTS, vec!["--listen", "192.0.2.1:80"], vec!["--listen 192.0.2.1:80"]),
    ];
    for (program, args, says) in cases {
        let (code, lines) = end(program, &args);
        assert_eq!((code, lines.len()), (Some(3), 1), "{args:?}: {lines:?}");
        let line = &lines[0];
        assert!(line.starts_with("error: ") && !line.contains("s3cret"), "{args:?}: {line}");
        assert!(says.iter().all(|says| line.contains(says)), "{args:?}: {line}");
    }
}

#[test]
fn a_signal_ends_the_wait_for_a_server_that_is_away_and_is_0() {
    let away = nowhere();
    let (redis, amqp) = (format!("redis://{away}"), format!("amqp://{away}/%2f"));
    for (program, args) in
        [(KAFKA, ["--store", &redis]), (STRIPE, ["--store", &redis]), (RABBITMQ, ["--url", &amqp])]
    {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(args).current_dir(directory.path()).stderr(Stdio::piped());
        if program == STRIPE {
            command.args(["--secret", "whsec_test"]);
        }
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("waiting for it") {
            line.clear();
            assert!(stderr.read_line(&mut line).unwrap() > 0, "{args:?}: it ends without waiting");
        }
        // Long enough for several tries, which are not said.
        std::thread::sleep(Duration::from_millis(1500));
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(0), "{args:?}");
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert!(!rest.contains("waiting for it"), "{args:?}: said more than once: {rest}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_comes_after_the_example_is_used() {
    let Some(url) = common::postgres("late") else { return };
    let (proxy, url) = Proxy::in_front_of(&url).await.unwrap();
    proxy.refuse().await;
    let directory = tempfile::tempdir().unwrap();
    let args = ["--every", "1", "--class", "inbox", "--store", &url];
    let process = common::start(CRON, directory.path(), &args);
    tokio::time::sleep(Duration::from_millis(500)).await;
    proxy.accept().await.unwrap();
    let end = std::time::Instant::now() + Duration::from_secs(120);
    while common::rows(&url).await.is_empty() {
        assert!(std::time::Instant::now() < end, "no slot has run");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::task::spawn_blocking(|| process.end()).await.unwrap();
}
