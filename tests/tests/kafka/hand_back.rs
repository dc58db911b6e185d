//! What is handed back is read again, in its order, and never committed past.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use ackonce::{Context, ErrorKind, Failure, MemoryStore, OnFailure, OnMismatch};
use ackonce_kafka::{KafkaMessage, Order};
use ackonce_testkit::FaultyStore;
use ackonce_tests::until;
use futures_util::future::join_all;

use crate::inside::{Gate, Log, Running, Topic, claim_by_hand, settings};

/// The numbers that succeeded, as `p0-17` -> 17.
fn numbers(log: &Log) -> Vec<u32> {
    log.ids().iter().map(|id| id.split_once('-').unwrap().1.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_message_that_is_handed_back_runs_again_before_those_behind_it() {
    let Some(topic) = Topic::new("back", 1).await else { return };
    topic.fill(0, 0..200);
    let (begun, done) = (Log::default(), Log::default());
    let (begins, succeeds) = (begun.clone(), done.clone());
    let handler = move |cx: Context, message: KafkaMessage| {
        let id = begins.add(&cx, &message);
        // Each tenth fails twice.
        let fails = id.ends_with('7') && cx.attempt() < 3;
        if !fails {
            succeeds.add(&cx, &message);
        }
        async move { if fails { Err(Failure::from("once more")) } else { Ok(()) } }
    };
    let consumer = topic.consumer().with_settings(settings().with_on_failure(OnFailure::HandBack));
    let running = Running::start(consumer, handler);
    topic.until_committed(0).await;
    running.stop().await;
    assert_eq!(numbers(&done), (0..200).collect::<Vec<_>>(), "in order, each once");
    let order = numbers(&begun);
    assert!(order.is_sorted(), "nothing begins before what failed before it: {order:?}");
    assert_eq!(begun.of("p0-7").iter().map(|ran| ran.attempt).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_committed_past_a_message_that_runs_before_one_that_was_handed_back() {
    join_all([Order::Key, Order::Unordered].map(not_committed_past)).await;
}

async fn not_committed_past(order: Order) {
    let Some(topic) = Topic::new("past", 1).await else { return };
    topic.fill(0, 0..50);
    let (gate, log) = (Gate::shut(), Log::default());
    let (passed, ran) = (gate.clone(), log.clone());
    let handler = move |cx: Context, message: KafkaMessage| {
        let id = ran.add(&cx, &message);
        let (gate, attempt) = (passed.clone(), cx.attempt());
        async move {
            match &*id {
                "p0-3" => gate.passed().await,
                "p0-5" if attempt == 1 => return Err(Failure::from("once more")),
                _ => {}
            }
            Ok(())
        }
    };
    let consumer = topic.consumer().with_order(order);
    let running =
        Running::start(consumer.with_settings(settings().with_on_failure(OnFailure::HandBack)), handler);
    until("all the others have run", || log.len() == 51).await;
    until("they are settled", || {
        running.health.report().partitions.first().is_some_and(|p| p.in_flight == 1 && p.ahead == 47)
    })
    .await;
    until("those before it are committed", || topic.committed(0) == 3).await;
    // A publication more, so that the commits of another round are behind us.
    topic.fill(0, 50..60);
    until("those ran", || log.len() == 61).await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(topic.committed(0), 3, "p0-3 runs still");
    gate.open();
    topic.until_committed(0).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_held_for_longer_than_hold_is_read_again() {
    let Some(topic) = Topic::new("hold", 2).await else { return };
    topic.fill_all(100);
    let store = Arc::new(MemoryStore::new());
    claim_by_hand(&*store, &topic, "p0-40", Duration::from_secs(4)).await;
    let consumer = topic.consumer_with(store);
    let (running, log) =
        Running::logging(consumer.with_settings(settings().with_busy_timeout(Duration::from_millis(100))));
    topic.until_committed(1).await;
    topic.until_committed(0).await;
    running.stop().await;
    let of_first: Vec<_> = log.ids().into_iter().filter(|id| id.starts_with("p0")).collect();
    assert_eq!(of_first, (0..100).map(|n| format!("p0-{n}")).collect::<Vec<_>>(), "in order, each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_read_again_after_the_patience_with_a_store_is_over() {
    join_all([Order::Source, Order::Key, Order::Unordered].map(patience_is_over)).await;
}

async fn patience_is_over(order: Order) {
    let Some(topic) = Topic::new("patience", 3).await else { return };
    topic.fill_all(50);
    let store = Arc::new(FaultyStore::scripted(Arc::new(MemoryStore::new()), [None]));
    let consumer = topic.consumer_with(store.clone()).with_order(order);
    let settings = settings().with_store_timeout(Duration::from_millis(100));
    let (running, log) = Running::logging(consumer.with_settings(settings));
    until("some ran", || log.len() >= 50).await;
    store.pause();
    topic.fill(0, 50..100);
    let before = store.injected().while_paused;
    until("patience was lost", || store.injected().while_paused > before + 20).await;
    store.resume();
    topic.fill(1, 50..100);
    topic.until_all_committed().await;
    let ids: HashSet<_> = log.ids().into_iter().collect();
    assert_eq!(ids.len(), 250, "nothing is lost");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn handing_a_mismatch_back_is_refused_by_name() {
    let Some(topic) = Topic::new("mismatch", 1).await else { return };
    let consumer = topic.consumer().with_settings(settings().with_on_mismatch(OnMismatch::HandBack));
    let error = Running::logging(consumer).0.ended().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(ackonce::chain(&error).to_string().contains("OnMismatch::HandBack"), "{error}");
}
