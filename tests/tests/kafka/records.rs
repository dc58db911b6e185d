//! Odd records: control records, headers that are not text, batches that this build cannot read.

use std::time::Duration;

use ackonce::ErrorKind;
use ackonce_kafka::Phase;
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use ackonce_kafka::rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use ackonce_tests::{raw, until};

use crate::inside::{Running, Topic};

/// Transactions: `true` is committed, `false` aborted.
fn transactions(topic: &Topic, all: &[bool]) {
    let mut config = topic.kafka.config();
    let producer: BaseProducer = config.set("transactional.id", &topic.name).create().unwrap();
    let wait = Duration::from_secs(60);
    producer.init_transactions(wait).unwrap();
    for (n, commits) in all.iter().enumerate() {
        producer.begin_transaction().unwrap();
        for m in 0..5 {
            let id = format!("{n}-{m}-{commits}");
            let headers = OwnedHeaders::new().insert(Header { key: "message-id", value: Some(&id) });
            let record = BaseRecord::to(&topic.name).partition(0).key("k").payload("ok").headers(headers);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(wait).unwrap();
        match commits {
            true => producer.commit_transaction(wait).unwrap(),
            false => producer.abort_transaction(wait).unwrap(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commit_passes_aborted_transactions_and_control_records() {
    let Some(topic) = Topic::new("transactions", 1).await else { return };
    transactions(&topic, &[true, false, true, false, false]);
    let (running, log) = Running::logging(topic.consumer());
    topic.until_committed(0).await;
    assert_eq!(log.len(), 10);
    running.stop().await;
    // After a restart there is nothing but an aborted tail.
    transactions(&topic, &[false]);
    let (running, log) = Running::logging(topic.consumer());
    topic.until_committed(0).await;
    assert_eq!(log.len(), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_a_header_name_that_is_not_text_runs_and_its_neighbours_too() {
    let Some(topic) = Topic::new("odd-header", 1).await else { return };
    let dead = topic.beside("dead").await;
    topic.fill(0, 0..3);
    let odd: raw::RawHeaders<'_> = &[(b"caf\xe9", b"1"), (b"message-id", b"odd"), (b"\xff", b"2")];
    raw::publish(topic.kafka.brokers(), &topic.name, b"ok", odd);
    // Its ID is in the header that cannot be read: it has none.
    raw::publish(topic.kafka.brokers(), &topic.name, b"ok", &[(b"message-id\xff", b"lost")]);
    topic.fill(0, 3..6);
    let (running, log) = Running::logging(topic.consumer().with_dead_letters(&dead));
    topic.until_committed(0).await;
    assert_eq!(log.ids(), ["p0-0", "p0-1", "p0-2", "odd", "p0-3", "p0-4", "p0-5"]);
    assert_eq!(running.stop().await.buried, 1);
    assert_eq!(topic.kafka.end(&dead, 0), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_this_build_cannot_read_ends_the_consumer_and_names_the_feature() {
    let Some(topic) = Topic::new("zstd", 2).await else { return };
    topic.fill(0, 0..10);
    topic.fill(1, 0..10);
    raw::publish_zstd(topic.kafka.brokers(), &topic.name, b"ok", &[(b"message-id", b"zstd")]);
    let (running, log) = Running::logging(topic.consumer());
    until("it ends", || matches!(running.health.report().phase, Phase::Failed)).await;
    let error = running.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    let text = error.to_string();
    assert!(text.contains("zstd") && text.contains(&topic.name), "{text}");
    assert_eq!(i64::try_from(log.of_partition(0)).unwrap(), topic.committed(0));
}
