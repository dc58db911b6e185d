//! Sweeping drops expired records and no others, waits for no lock, and gives their room to later records.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce::Deduplicator;
use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Inspect, Settle, Settlement};
use ackonce_postgres::{Names, PostgresStore, Sweep};
use common::{HOUR, acquire, alone, is_done, place, request};

const RECORDS: &str = "SELECT count(*) FROM record";

async fn fill(store: &PostgresStore, ids: std::ops::Range<u32>, window: Duration) {
    let requests: Vec<_> = ids.map(request).collect();
    let answers = store.claim(&requests).await.unwrap();
    let settlements = answers.into_iter().map(|answer| match answer {
        Claimed::Acquired(lease) => Settlement::new(&lease, Settle::Complete { window, outcome: None }),
        other => panic!("{other:?}"),
    });
    store.settle(&settlements.collect::<Vec<_>>()).await.unwrap();
}

#[tokio::test]
async fn expired_records_go_and_live_claims_stay() {
    let Some(place) = place() else { return };
    let store = place.config().with_names(Names::Keep).connect().await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 0, "an empty table");
    // More than one statement's range of pages.
    for n in 0..12 {
        fill(&store, n * 2500..(n + 1) * 2500, Duration::ZERO).await;
    }
    fill(&store, 100_000..100_100, HOUR).await;
    acquire(&store, request("held")).await;
    // Its lease has ended; its trail (fence, attempts) has not.
    acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("vanished") }).await;
    assert_eq!(store.sweep().await.unwrap(), 30_000);
    assert_eq!(place.value(RECORDS).await, 102);
    assert_eq!(place.value("SELECT count(*) FROM name").await, 102, "and their names");
    assert_eq!(store.sweep().await.unwrap(), 0);
    assert!(is_done(&store, 100_050).await);
    assert_eq!(acquire(&store, request("vanished")).await.attempt, 2);
}

#[tokio::test]
async fn an_automatic_sweep_follows_the_writes() {
    let Some(place) = place() else { return };
    let store = place.config().with_sweep(Sweep::Automatic).connect().await.unwrap();
    for batch in 0..60 {
        fill(&store, batch * 500..(batch + 1) * 500, Duration::ZERO).await;
    }
    let left = place.value(RECORDS).await;
    assert!(left < 15_000, "{left} of 30000 expired records are still there");
}

#[tokio::test]
async fn a_sweep_waits_for_nobody_and_nobody_for_it() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    fill(&store, 0..100, Duration::ZERO).await;
    let mut client = place.client().await;
    let tx = client.transaction().await.unwrap();
    tx.query("SELECT 1 FROM record ORDER BY key LIMIT 1 FOR UPDATE", &[]).await.unwrap();
    assert_eq!(store.sweep().await.unwrap(), 99);
    tx.rollback().await.unwrap();

    // A delete that is not committed holds its rows: a claim of another key goes on.
    let tx = client.transaction().await.unwrap();
    assert_eq!(tx.execute("DELETE FROM record", &[]).await.unwrap(), 1);
    acquire(&store, request("another")).await;
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn what_was_swept_is_claimed_anew_with_a_larger_fence() {
    let Some(place) = place() else { return };
    let store = place.store().await;
    let first =
        acquire(&store, ClaimRequest { window: Duration::ZERO, lease: Duration::ZERO, ..request("a") }).await;
    assert_eq!(store.sweep().await.unwrap(), 1);
    let second = acquire(&store, request("a")).await;
    assert_eq!(second.attempt, 1);
    assert!(second.fence > first.fence);
    assert!(matches!(store.claim_one(request("a")).await.unwrap(), Claimed::Busy { .. }));
}

/// A vacuum makes the room of swept records usable: later records take no more.
#[tokio::test]
async fn a_swept_table_does_not_grow() {
    let Some(place) = alone().await else { return };
    let store = place.store().await;
    let client = place.client().await;
    let mut sizes = Vec::new();
    for round in 0..4 {
        for n in 0..4 {
            let from = (round * 4 + n) * 2500;
            fill(&store, from..from + 2500, Duration::ZERO).await;
            client.batch_execute("VACUUM record").await.unwrap();
        }
        sizes.push(place.value("SELECT pg_table_size('record')").await);
        assert_eq!(store.sweep().await.unwrap(), 10_000);
        client.batch_execute("VACUUM record").await.unwrap();
    }
    assert!(sizes[3] < 2 * sizes[0], "four times as much without: {sizes:?}");
}
