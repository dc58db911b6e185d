//! A Kafka consumer loop under kill -9 and SIGSTOP, with each class, beside the loops that most teams write.
//!
//! `ACKONCE_ACCEPTANCE_MESSAGES` and `ACKONCE_ACCEPTANCE_KILLS` scale it; the defaults are the promise.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use ackonce_tests::acceptance::{Outcome, run};
use ackonce_tests::kafka::Kafka;

/// One run at a time: they would take the two cores from each other.
static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn scale(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |v| v.parse().unwrap())
}

async fn class(mode: &str, seed: u64) -> Option<Outcome> {
    // The mock cluster keeps 5 MiB a partition and takes its time over rebalances; the demo runs on it.
    let kafka = Kafka::real()?;
    let messages = scale("ACKONCE_ACCEPTANCE_MESSAGES", 50_000);
    let kills = scale("ACKONCE_ACCEPTANCE_KILLS", 30);
    let outcome = run(&kafka, mode, messages, kills, seed).await;
    let Outcome { audit, history, .. } = &outcome;
    println!(
        "{mode}: {} published, {} unique, {} effects, {} kills, {} pauses, lost {}, doubled {}, unexplained {}",
        audit.published,
        audit.unique,
        audit.effects,
        history.kills(),
        history.pauses(),
        audit.lost.len(),
        audit.doubled.len(),
        audit.doubled.iter().filter(|d| !d.explained()).count(),
    );
    assert_eq!(audit.published, messages as u64);
    assert!(history.kills() >= kills && history.pauses() > 0);
    assert!(audit.unknown_ids.is_empty() && audit.shared_keys.is_empty());
    Some(outcome)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_inbox_loses_nothing_and_doubles_nothing() {
    let _alone = ALONE.lock().await;
    let Some(Outcome { audit, balance, .. }) = class("inbox", 1).await else { return };
    assert!(audit.lost.is_empty() && audit.doubled.is_empty(), "{audit:?}");
    assert_eq!(balance, Some(audit.unique), "the balance adds up");
}

#[tokio::test(flavor = "multi_thread")]
async fn keyed_effects_are_neither_lost_nor_doubled() {
    let _alone = ALONE.lock().await;
    let Some(Outcome { audit, .. }) = class("keyed", 2).await else { return };
    assert!(audit.lost.is_empty() && audit.doubled_keyed.is_empty(), "{audit:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn leased_effects_are_not_lost_and_each_double_is_explained() {
    let _alone = ALONE.lock().await;
    let Some(Outcome { audit, .. }) = class("leased", 3).await else { return };
    assert!(audit.lost.is_empty(), "{audit:?}");
    let unexplained: Vec<_> = audit.doubled.iter().filter(|d| !d.explained()).collect();
    assert!(unexplained.is_empty(), "{unexplained:?}");
}

/// The harness bites: the same kills, and the two loops show what they are.
#[tokio::test(flavor = "multi_thread")]
async fn the_loops_that_most_teams_write_lose_and_double() {
    let _alone = ALONE.lock().await;
    let Some(kafka) = Kafka::real() else { return };
    let loses = run(&kafka, "record-then-run", 6000, 10, 4).await.audit;
    let doubles = run(&kafka, "run-then-record", 6000, 10, 5).await.audit;
    println!("record-then-run: lost {}, doubled {}", loses.lost.len(), loses.doubled.len());
    println!("run-then-record: lost {}, doubled {}", doubles.lost.len(), doubles.doubled.len());
    assert!(!loses.lost.is_empty());
    assert!(!doubles.doubled.is_empty());
}
