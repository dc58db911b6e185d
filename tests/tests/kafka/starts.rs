//! A consumer that cannot begin says so, waits or ends.

use std::sync::Arc;
use std::time::Duration;

use ackonce::{ErrorKind, MemoryStore, OnStart};
use ackonce_kafka::{KafkaConsumer, Order, Phase};
use ackonce_testkit::FaultyStore;
use ackonce_tests::until;
use futures_util::future::join_all;

use crate::inside::{Running, Topic, settings};

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_created_after_the_start_is_consumed() {
    let Some(topic) = Topic::unmade("later", 2) else { return };
    let (running, log) = Running::logging(topic.consumer());
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(running.health.report().phase, Phase::Starting);
    topic.kafka.create(&topic.name, 2).await;
    topic.fill_all(20);
    topic.until_all_committed().await;
    assert_eq!(log.len(), 40);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_beside_another_does_not_hold_that_back() {
    let Some(topic) = Topic::new("here", 1).await else { return };
    let later = format!("{}-later", topic.name);
    let store = Arc::new(MemoryStore::new());
    let consumer = KafkaConsumer::new(topic.config(), &[&topic.name, &later], &topic.scope(), store);
    topic.fill(0, 0..20);
    let (running, log) = Running::logging(consumer.with_settings(settings()));
    topic.until_committed(0).await;
    topic.kafka.create(&later, 1).await;
    topic.kafka.publish(&later, [(0, "k", Some("later"), "ok")]);
    until("the later topic is read", || log.len() == 21).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_is_told_to_end_names_what_is_missing() {
    let Some(topic) = Topic::unmade("end", 1) else { return };
    let ends = || settings().with_on_start(OnStart::End);
    let error = Running::logging(topic.consumer().with_settings(ends())).0.ended().await.unwrap_err();
    assert!(ackonce::chain(&error).to_string().contains(&topic.name), "{error}");
    // A port that nobody listens at.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut config = topic.config();
    config.set("bootstrap.servers", &port);
    let consumer = topic.consumer_of(config, Arc::new(MemoryStore::new())).with_settings(ends());
    let error = Running::logging(consumer).0.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(ackonce::chain(&error).to_string().contains(&port), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_that_waits_at_start_can_be_shut_down() {
    let Some(topic) = Topic::unmade("shut-down", 1) else { return };
    let (running, _) = Running::logging(topic.consumer());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_away_for_a_while_delays_and_loses_nothing() {
    join_all([Order::Source, Order::Key, Order::Unordered].map(store_away)).await;
}

async fn store_away(order: Order) {
    let Some(topic) = Topic::new("store-away", 4).await else { return };
    topic.fill_all(300);
    let store = Arc::new(FaultyStore::scripted(Arc::new(MemoryStore::new()), [None]));
    let (running, log) = Running::logging(topic.consumer_with(store.clone()).with_order(order));
    until("some ran", || log.len() >= 100).await;
    store.pause();
    let before = store.injected().while_paused;
    topic.fill(0, 300..400);
    until("the store was missed", || store.injected().while_paused > before + 2).await;
    store.resume();
    topic.until_all_committed().await;
    let mut ids = log.ids();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 1300);
    running.stop().await;
}
