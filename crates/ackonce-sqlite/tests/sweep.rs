//! Sweeping drops what has expired and nothing else, and makes room in a full store.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use ackonce::{ClaimRequest, Claimed, Deduplicator, ErrorKind, Repeat, Settle, Settled, Settlement};
use ackonce_sqlite::Sweep;
use common::{HOUR, TestClock, acquire, fill, is_done, place, request};

#[tokio::test]
async fn expired_records_go_and_live_claims_stay() {
    let place = place();
    let store = place.store();
    assert_eq!(store.sweep().await.unwrap(), 0, "an empty table");
    fill(&store, 0..5000, Duration::ZERO).await;
    fill(&store, 5000..5100, HOUR).await;
    acquire(&store, request("held")).await;
    // Its lease has ended; its trail (fence, attempts) has not.
    acquire(&store, ClaimRequest { lease: Duration::ZERO, ..request("vanished") }).await;
    assert_eq!(store.sweep().await.unwrap(), 5000);
    assert_eq!(place.rows(), 102);
    assert_eq!(store.sweep().await.unwrap(), 0);
    assert!(is_done(&store, 5050).await);
    assert_eq!(acquire(&store, request("vanished")).await.attempt, 2);
}

#[tokio::test]
async fn an_automatic_sweep_follows_the_writes() {
    let place = place();
    let store = place.config().with_sweep(Sweep::Automatic).open().unwrap();
    for batch in 0..40 {
        fill(&store, batch * 250..(batch + 1) * 250, Duration::ZERO).await;
    }
    let left = place.rows();
    assert!(left < 5000, "{left} of 10000 expired records are still there");
}

#[tokio::test]
async fn an_idle_store_sweeps_by_itself() {
    let place = place();
    let store = place.config().with_sweep(Sweep::Automatic).open().unwrap();
    // Too few to be swept along with their own writes.
    fill(&store, 0..50, Duration::ZERO).await;
    while place.rows() > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    drop(store);
}

#[tokio::test]
async fn a_full_store_says_so_and_has_room_after_a_sweep() {
    let place = place();
    let store = place.config().with_max_bytes(1 << 20).open().unwrap();
    let mut stored = 0_u32;
    let error = loop {
        let requests: Vec<_> = (stored..stored + 500)
            .map(|id| ClaimRequest { lease: Duration::ZERO, window: Duration::ZERO, ..request(id) })
            .collect();
        match store.claim(&requests).await {
            Ok(_) => stored += 500,
            Err(error) => break error,
        }
    };
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Full, Repeat::Safe), "{error}");
    assert!(ackonce::chain(&error).to_string().contains("with_max_bytes"), "{error}");
    assert_eq!(place.rows(), i64::from(stored), "all of a failed batch was undone");
    assert_eq!(store.sweep().await.unwrap(), u64::from(stored));
    acquire(&store, request("after the sweep")).await;
}

/// Hours apart, so that every difference to the generation's own is a long one.
#[tokio::test]
async fn a_record_takes_45_bytes_at_most_and_filters_are_a_tenth_of_it() {
    const RECORDS: u32 = 20_000;
    let place = place();
    let clock = TestClock::new();
    let store = clock.of(place.config()).with_generation(5000).open().unwrap();
    for first in (0..RECORDS).step_by(500) {
        fill(&store, first..first + 500, 7 * 24 * HOUR).await;
        clock.advance(HOUR / 6);
    }
    let filters = "SELECT sum(length(blocks)) FROM ackonce_filters";
    let filters: u32 = place.connection().query_row(filters, [], |r| r.get(0)).unwrap();
    assert!((RECORDS / 2..=4 * RECORDS).contains(&filters), "{filters} bytes of filters");
    drop(store);
    // The log is carried over and removed with the last connection.
    while place.file.with_extension("db-wal").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let bytes = std::fs::metadata(&place.file).unwrap().len();
    assert!(bytes <= u64::from(45 * RECORDS), "{bytes} bytes for {RECORDS}");
}

/// Nothing is idle, nobody asks for a sweep, and whoever writes finds the file full.
#[tokio::test]
async fn a_full_store_makes_room_for_its_writers() {
    let place = place();
    let clock = TestClock::new();
    let config = clock.of(place.config()).with_sweep(Sweep::Automatic).with_generation(1000);
    let store = config.with_max_bytes(1 << 20).open().unwrap();
    let mut stored = 0;
    let mut write = async || {
        let requests: Vec<_> = (stored..stored + 250).map(request).collect();
        stored += 250;
        let leases = store.claim(&requests).await?.into_iter().map(|answer| match answer {
            Claimed::Acquired(lease) => lease,
            other => panic!("{other:?}"),
        });
        let done = || Settle::Complete { window: HOUR, outcome: None };
        store.settle(&leases.map(|lease| Settlement::new(&lease, done())).collect::<Vec<_>>()).await
    };
    while let Ok(settled) = write().await {
        assert!(settled.iter().all(|s| *s == Settled::Yes));
    }
    assert_eq!(write().await.unwrap_err().kind(), ErrorKind::Full);
    clock.advance(2 * HOUR);
    // Each failure leaves the next one more room.
    let mut written = 0;
    for _ in 0..60 {
        written += usize::from(write().await.is_ok());
    }
    assert!(written >= 40, "{written} of 60");
}
