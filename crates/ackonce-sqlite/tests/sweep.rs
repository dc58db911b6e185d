//! Sweeping drops expired records and nothing else, and makes room in a full store.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::time::Duration;

use ackonce::store::{ClaimRequest, Claimed, Repeat, Settle, Settled, Settlement};
use ackonce::{Deduplicator, ErrorKind};
use ackonce_sqlite::{SqliteStore, Sweep};
use common::{HOUR, Place, TestClock, acquire, fill, is_done, place, request};

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

/// Hours apart, so that every difference to the generation's own is a long one. The number of records in a
/// generation is up to chance, and some pages with it; those of an empty file are not counted.
#[tokio::test]
async fn a_record_takes_45_bytes_at_most_and_filters_are_a_tenth_of_it() {
    const RECORDS: u32 = 20_000;
    let place = place();
    let clock = TestClock::new();
    drop(place.store());
    let empty = closed(&place).await;
    let store = clock.of(place.config()).with_generation(5000).open().unwrap();
    for first in (0..RECORDS).step_by(500) {
        fill(&store, first..first + 500, 7 * 24 * HOUR).await;
        clock.advance(HOUR / 6);
    }
    let filters = "SELECT sum(length(blocks)) FROM ackonce_filters";
    let filters: u32 = place.connection().query_row(filters, [], |r| r.get(0)).unwrap();
    assert!((RECORDS / 2..=4 * RECORDS).contains(&filters), "{filters} bytes of filters");
    drop(store);
    let bytes = closed(&place).await - empty;
    assert!(bytes <= u64::from(45 * RECORDS), "{bytes} bytes for {RECORDS}");
}

/// The bytes of the file once its log is carried over, which the last connection does and then removes it.
async fn closed(place: &Place) -> u64 {
    while place.file.with_extension("db-wal").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    std::fs::metadata(&place.file).unwrap().len()
}

/// Claims and completes the next 250.
async fn write(store: &SqliteStore, stored: &mut u32) -> ackonce::Result<()> {
    let requests: Vec<_> = (*stored..*stored + 250).map(request).collect();
    *stored += 250;
    let leases = store.claim(&requests).await?.into_iter().map(|answer| match answer {
        Claimed::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    });
    let done = || Settle::Complete { window: HOUR, outcome: None };
    let settled =
        store.settle(&leases.map(|lease| Settlement::new(&lease, done())).collect::<Vec<_>>()).await?;
    assert!(settled.iter().all(|s| *s == Settled::Yes));
    Ok(())
}

/// Nothing is idle, nobody asks for a sweep, and each writer finds the file full.
#[tokio::test]
async fn a_full_store_makes_room_for_its_writers() {
    let place = place();
    let clock = TestClock::new();
    let config = clock.of(place.config()).with_sweep(Sweep::Automatic).with_generation(1000);
    let store = config.with_max_bytes(1 << 20).open().unwrap();
    let mut stored = 0;
    while write(&store, &mut stored).await.is_ok() {}
    assert_eq!(write(&store, &mut stored).await.unwrap_err().kind(), ErrorKind::Full);
    clock.advance(2 * HOUR);
    // Each failure leaves the next one more room.
    let mut written = 0;
    for _ in 0..60 {
        written += usize::from(write(&store, &mut stored).await.is_ok());
    }
    assert!(written >= 40, "{written} of 60");
}

/// Sealing it before it is dropped would need pages, and there are none.
#[tokio::test]
async fn a_full_store_with_one_open_generation_makes_room() {
    for sweep in [Sweep::Automatic, Sweep::Manual] {
        let place = place();
        let clock = TestClock::new();
        let store = clock.of(place.config()).with_sweep(sweep).with_max_bytes(3 << 20).open().unwrap();
        let mut stored = 0;
        while write(&store, &mut stored).await.is_ok() {}
        assert!(stored > 50_000, "{stored}");
        clock.advance(24 * HOUR);
        if sweep == Sweep::Manual {
            assert_eq!(write(&store, &mut stored).await.unwrap_err().kind(), ErrorKind::Full);
            assert!(store.sweep().await.unwrap() > 50_000);
        }
        let mut written = 0;
        for _ in 0..20 {
            written += usize::from(write(&store, &mut stored).await.is_ok());
        }
        assert!(written >= 18, "{written} of 20");
    }
}

/// The records of one generation expire one after another, and the last one keeps it: their pages are room as well.
#[tokio::test]
async fn a_full_store_whose_generations_are_expired_in_part_makes_room() {
    let place = place();
    let clock = TestClock::new();
    let config = clock.of(place.config()).with_sweep(Sweep::Automatic);
    let store = config.with_max_bytes(1 << 20).open().unwrap();
    let mut stored = 0;
    while write(&store, &mut stored).await.is_ok() {}
    // All have expired, and the generation is open for a while yet: it would have taken others.
    clock.advance(HOUR + HOUR / 60);
    let mut written = 0;
    for _ in 0..40 {
        written += usize::from(write(&store, &mut stored).await.is_ok());
    }
    assert!(written >= 20, "{written} of 40");
}

/// Claims that nobody finished, and messages that failed.
#[tokio::test]
async fn a_store_full_of_claims_makes_room() {
    let place = place();
    let clock = TestClock::new();
    let config = clock.of(place.config()).with_sweep(Sweep::Automatic);
    let store = config.with_max_bytes(1 << 20).open().unwrap();
    let mut claimed = 0_u32;
    let mut claim = async || {
        claimed += 250;
        let requests: Vec<_> = (claimed - 250..claimed).map(request).collect();
        store.claim(&requests).await.map(|answers| answers.len())
    };
    while claim().await.is_ok() {}
    clock.advance(3 * HOUR);
    let mut written = 0;
    for _ in 0..40 {
        written += usize::from(claim().await.is_ok());
    }
    assert!(written >= 20, "{written} of 40");
}

/// While the clock has not passed the fences of an open generation it stays, and is neither sealed nor looked through
/// with each write.
#[tokio::test]
async fn an_open_generation_of_a_clock_that_was_set_back_stays() {
    let place = place();
    let clock = TestClock::new();
    let store = clock.of(place.config()).open().unwrap();
    fill(&store, 0..100, HOUR).await;
    clock.advance(9 * HOUR);
    // Opened now, with fences of now.
    fill(&store, 100..200, HOUR).await;
    let ends = || -> Vec<(i64, i64)> {
        let conn = place.connection();
        let mut rows = conn.prepare("SELECT sealed, ends FROM ackonce_generations ORDER BY id").unwrap();
        rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).unwrap().map(Result::unwrap).collect()
    };
    clock.set_back(8 * HOUR);
    place.connection().execute("UPDATE ackonce_generations SET ends = 0 WHERE sealed = 0", []).unwrap();
    place
        .connection()
        .execute("UPDATE ackonce_meta SET value = randomblob(16) WHERE name = 'incarnation'", [])
        .unwrap();
    store.sweep().await.unwrap();
    let (sealed, until) = ends()[ends().len() - 1];
    assert_eq!(sealed, 0);
    assert!(until > i64::try_from(clock.micros()).unwrap(), "until its last record expires");
    assert!(is_done(&store, 150).await);
}

/// The first half of a sweep that fails must not be committed with the group.
#[tokio::test]
async fn half_a_sweep_is_not_committed() {
    for statement in ["ABORT", "FAIL"] {
        for sweep in [Sweep::Automatic, Sweep::Manual] {
            let place = place();
            let clock = TestClock::new();
            drop(place.store());
            let fail = format!(
                "CREATE TEMP TRIGGER refuse BEFORE DELETE ON main.ackonce_generations
                 BEGIN SELECT RAISE({statement}, 'refused by the test'); END"
            );
            let config = clock.of(place.config()).with_sweep(sweep).with_generation(128);
            let store = config.with_setup(move |conn| conn.execute_batch(&fail)).open().unwrap();
            fill(&store, 0..300, HOUR).await;
            let tables = place.generations();
            clock.advance(24 * HOUR);
            if sweep == Sweep::Manual {
                store.sweep().await.unwrap_err();
            }
            // Along with this group the sweep fails, and the group does not.
            fill(&store, 1000..1010, HOUR).await;
            assert!(tables.iter().all(|t| place.generations().contains(t)), "{:?}", place.generations());
            let conn = place.connection();
            let filters = "SELECT count(*) FROM ackonce_generations WHERE sealed AND id NOT IN \
                           (SELECT generation FROM ackonce_filters)";
            assert_eq!(conn.query_row(filters, [], |r| r.get::<_, i64>(0)).unwrap(), 0);
            assert!(is_done(&store, 1005).await);
            // In memory neither: another opens, fills and seals.
            fill(&store, 2000..2400, HOUR).await;
            assert!(is_done(&store, 2222).await);
        }
    }
}
