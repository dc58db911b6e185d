//! One message holds back itself and those that must come after it, nothing else.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{Attempt, Settle, Settlement};
use ackonce::{Context, Deduplicator, Failure, MemoryStore};
use ackonce_kafka::{KafkaConsumer, KafkaMessage, Order, Waits};
use ackonce_tests::until;
use futures_util::future::join_all;

use crate::inside::{Gate, Log, Running, Topic, claim_by_hand};

/// The handler says that `p0-0` cannot be run now, until the gate opens.
fn down(consumer: KafkaConsumer, gate: &Gate) -> (Running, Log) {
    let log = Log::default();
    let (gate, ran) = (gate.clone(), log.clone());
    let handler = move |cx: Context, message: KafkaMessage| {
        let id = String::from_utf8_lossy(cx.key().id()).into_owned();
        let fails = id == "p0-0" && !gate.is_open();
        if !fails {
            ran.add(&cx, &message);
        }
        async move { if fails { Err(Failure::infrastructure("down")) } else { Ok(()) } }
    };
    (Running::start(consumer, handler), log)
}

async fn others_go_on(topic: &Topic) {
    for partition in 1..4 {
        topic.until_committed(partition).await;
    }
    assert_eq!(topic.committed(0), 0, "nothing is committed past the stuck message");
}

async fn all_end(topic: &Topic, running: Running, log: &Log) {
    topic.until_all_committed().await;
    let ids = log.ids();
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), ids.len(), "each ran once");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_stuck_message_of_one_partition_stops_no_other_partition() {
    let Some(topic) = Topic::new("stuck", 4).await else { return };
    topic.fill_all(6000);
    let gate = Gate::shut();
    let (running, log) = down(topic.consumer(), &gate);
    others_go_on(&topic).await;
    assert_eq!(log.of_partition(0), 0, "its partition waits: Order::Source");
    gate.open();
    all_end(&topic, running, &log).await;
    assert_eq!(log.len(), 24_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stuck_key_stops_neither_the_other_keys_of_its_partition_nor_other_partitions() {
    let Some(topic) = Topic::new("stuck-key", 4).await else { return };
    topic.fill_all(2000);
    // Behind the stuck message, with its key.
    topic.kafka.publish(&topic.name, [(0, "p0-0", Some("behind"), "ok")]);
    let gate = Gate::shut();
    let (running, log) = down(topic.consumer().with_order(Order::Key), &gate);
    others_go_on(&topic).await;
    until("the other keys ran", || log.of_partition(0) == 1999).await;
    assert!(log.of("behind").is_empty());
    gate.open();
    all_end(&topic, running, &log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_runs_ahead_of_its_stuck_message_as_far_as_it_may_and_waits_alone() {
    join_all([Order::Key, Order::Unordered].map(runs_ahead)).await;
}

async fn runs_ahead(order: Order) {
    let Some(topic) = Topic::new("ahead", 4).await else { return };
    topic.fill_all(3000);
    let gate = Gate::shut();
    let (running, log) = down(topic.consumer().with_order(order).with_max_ahead(1000), &gate);
    others_go_on(&topic).await;
    until("as many ran as may", || log.of_partition(0) == 999).await;
    let of_first = || running.health.report().partitions.into_iter().find(|p| p.partition == 0).unwrap();
    until("it says why it waits", || of_first().held == Some("too far ahead")).await;
    assert_eq!((of_first().ahead, log.of_partition(0)), (1000, 999));
    assert_eq!(of_first().oldest.map(|oldest| oldest.offset), Some(0));
    gate.open();
    all_end(&topic, running, &log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_somebody_else_holds_stops_no_other_partition() {
    let Some(topic) = Topic::new("held", 4).await else { return };
    topic.fill_all(2000);
    let store = Arc::new(MemoryStore::new());
    let lease = claim_by_hand(&*store, &topic, "p0-0", Duration::from_secs(600)).await;
    let (running, log) = Running::logging(topic.consumer_with(store.clone()));
    others_go_on(&topic).await;
    assert_eq!(log.of_partition(0), 0);
    let release = Settle::Release {
        attempt: Attempt::Refunded,
        window: Duration::from_secs(600),
        not_before: Duration::ZERO,
    };
    store.settle(&[Settlement::new(&lease, release)]).await.unwrap();
    all_end(&topic, running, &log).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_is_away_stops_no_other_partition() {
    let Some(topic) = Topic::new("no-letters", 4).await else { return };
    let dead = topic.beside("dead").await;
    let log = Log::default();
    let ran = log.clone();
    let handler = move |cx: Context, message: KafkaMessage| {
        let id = ran.add(&cx, &message);
        async move { if id == "p0-0" { Err(Failure::permanent("poison")) } else { Ok(()) } }
    };
    let running = Running::start(topic.consumer().with_dead_letters(&dead), handler);
    running.until_assigned(4).await;
    topic.kafka.delete(&dead).await;
    topic.fill_all(2000);
    others_go_on(&topic).await;
    let of_first = || running.health.report().partitions.into_iter().find(|p| p.partition == 0).unwrap();
    until("it says why", || of_first().oldest.is_some_and(|oldest| oldest.waits == Waits::Burial)).await;
    topic.kafka.create(&dead, 1).await;
    all_end(&topic, running, &log).await;
    assert_eq!(topic.kafka.read(&dead).len(), 1);
}
