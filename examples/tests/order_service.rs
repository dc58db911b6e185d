//! The order service as its first line runs it, against librdkafka's mock cluster.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use ackonce_tests::until;
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Headers, Message};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;

#[tokio::test(flavor = "multi_thread")]
async fn orders_that_arrive_twice_are_booked_and_announced_once() {
    let mock: MockCluster<'static, DefaultProducerContext> = MockCluster::new(1).unwrap();
    ["orders", "placed"].iter().for_each(|topic| mock.create_topic(topic, 2, 1).unwrap());
    let directory = tempfile::tempdir().unwrap();
    let brokers = mock.bootstrap_servers();
    for _ in 0..2 {
        let mut produce = Command::new(env!("CARGO_BIN_EXE_produce"));
        assert!(produce.args(["--brokers", &brokers, "--messages", "20"]).status().unwrap().success());
    }
    let mut service = Command::new(env!("CARGO_BIN_EXE_order_service"));
    let mut service = service.args(["--brokers", &brokers]).current_dir(directory.path()).spawn().unwrap();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &brokers)
        .set("group.id", "test")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    consumer.subscribe(&["placed"]).unwrap();
    let mut ids = Vec::new();
    until("all are announced", || {
        if let Some(message) = consumer.poll(Duration::from_millis(50)) {
            let message = message.unwrap();
            let id = message.headers().unwrap().get(0);
            assert_eq!(id.key, "message-id");
            ids.push(id.value.unwrap().to_vec());
        }
        ids.len() == 20
    })
    .await;
    assert!(consumer.poll(Duration::from_secs(1)).is_none(), "nothing more");
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 20);
    let pid = rustix::process::Pid::from_child(&service);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(service.wait().unwrap().code(), Some(0));
}
