//! A collector that is away.

use std::time::Duration;

use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use ackonce_tests::worker::Worker;

use crate::collector::Collector;
use crate::service::Service;
use crate::{program, publish};

/// One refuses connections, the other takes them and never answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_stops_nothing() {
    let Some(kafka) = Kafka::real() else { return };
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for address in [closed, silent.local_addr().unwrap()] {
        let topic = kafka.name("away");
        kafka.create(&topic, 1).await;
        let (collector, service) = (Collector::start().await, Service::start(&[]).await);
        let dir = tempfile::tempdir().unwrap();
        let from = format!("kafka://{}/{topic}?group={topic}", kafka.brokers());
        let args = ["relay", "--from", &from, "--to", &service.url()];
        let mut command = program(&args, dir.path(), &collector);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{address}"));
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let mut relay = Worker::start(command.stderr(log));
        for n in 0..50 {
            publish(&kafka, &topic, b"{}", &[("message-id", format!("m{n}").as_bytes())]);
        }
        until("all are through", || service.calls().len() == 50).await;
        let ending = tokio::task::spawn_blocking(move || relay.terminate());
        let ended = tokio::time::timeout(Duration::from_secs(60), ending).await.expect("it ends").unwrap();
        assert!(ended, "exit code 0");
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        let lines = log.lines().filter(|line| line.contains("takes no spans")).count();
        assert!(lines <= 1, "one line for an outage:\n{log}");
        assert_eq!(collector.count(), 0);
    }
}

#[test]
fn a_variable_that_cannot_be_honoured_is_refused_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "not a url"),
    ] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ackonce"));
        command.args(["relay", "--from", "kafka://127.0.0.1:1/t?group=g", "--to", "exec:true"]);
        command.arg("--store").arg(format!("sqlite:{}", dir.path().join("dedup.db").display()));
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").env(name, value);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(name.trim_end_matches("ENDPOINT")) && said.lines().count() == 1, "{said}");
    }
}
