//! A Kafka consumer loop under kill -9 and SIGSTOP, with each class, beside the loops that most teams write.
//!
//! `ACKONCE_ACCEPTANCE_MESSAGES` and `ACKONCE_ACCEPTANCE_KILLS` scale it; the defaults are the promise.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use ackonce::Class;
use ackonce_tests::acceptance::{Scale, accept, run, scaled};
use ackonce_tests::kafka::Kafka;

/// One run at a time: they would take the two cores from each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

async fn class(class: Class, seed: u64) {
    let _alone = ALONE.lock().await;
    // The mock cluster keeps 5 MiB a partition and takes its time over rebalances; the demo runs on it.
    let Some(kafka) = Kafka::real() else { return };
    let messages = scaled("ACKONCE_ACCEPTANCE_MESSAGES", 50_000);
    let kills = scaled("ACKONCE_ACCEPTANCE_KILLS", 30);
    accept(&kafka, class, Scale { messages, slices: 60, kills, outages: 0 }, seed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_loses_nothing_and_doubles_nothing() {
    class(Class::Inbox, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_effects_are_neither_lost_nor_doubled() {
    class(Class::Keyed, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leased_effects_are_not_lost_and_each_double_is_explained() {
    class(Class::Leased, 3).await;
}

/// The harness bites: the same kills, and the two loops show what they are.
#[tokio::test(flavor = "multi_thread")]
async fn the_loops_that_most_teams_write_lose_and_double() {
    let _alone = ALONE.lock().await;
    let Some(kafka) = Kafka::real() else { return };
    let scale = Scale { messages: 6000, slices: 60, kills: 10, outages: 0 };
    let loses = run(&kafka, "record-then-run", scale, 4).await.audit;
    let doubles = run(&kafka, "run-then-record", scale, 5).await.audit;
    println!("record-then-run: lost {}, doubled {}", loses.lost.len(), loses.doubled.len());
    println!("run-then-record: lost {}, doubled {}", doubles.lost.len(), doubles.doubled.len());
    assert!(!loses.lost.is_empty());
    assert!(!doubles.doubled.is_empty());
}
