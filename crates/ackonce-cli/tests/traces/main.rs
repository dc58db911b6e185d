//! Traces of the program as a user runs it: a relay, real brokers, and a collector that reads OTLP.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod collector;
mod duplicates;
mod headers;
mod journey;
mod outage;
mod proxied;
mod service;

use std::path::Path;
use std::process::Command;

use ackonce_tests::kafka::Kafka;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use collector::Collector;

/// The trace of a producer, and the span in which it published.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn traceparent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// The program with these arguments, with a store in `dir`, and with its spans sent to that collector.
fn program(args: &[&str], dir: &Path, collector: &Collector) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ackonce"));
    command.args(args).arg("--store").arg(format!("sqlite:{}", dir.join("dedup.db").display()));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()).env("OTEL_BSP_SCHEDULE_DELAY", "100");
    command.env("RUST_LOG", "warn,ackonce=info");
    command
}

/// Publishes a record with these headers.
fn publish(kafka: &Kafka, topic: &str, payload: &[u8], headers: &[(&str, &[u8])]) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.brokers());
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    let all = headers
        .iter()
        .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: Some(*value) }));
    let record = BaseRecord::<(), [u8]>::to(topic).partition(0).payload(payload).headers(all);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(std::time::Duration::from_secs(60)).unwrap();
}
