//! Inspection of a file: beside the writers, in short reads, through pages of any size.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::collections::HashSet;
use std::fs;

use ackonce::store::{Claimed, DeduplicatorExt, Filter, Inspect, Query, Settle, Settlement, State, Stats};
use ackonce::{Deduplicator, ErrorKind};
use ackonce_sqlite::{Names, SqliteStore, Sweep};
use bytes::Bytes;
use common::{HOUR, Place, acquire, key, place, request};

/// More than one read of them covers.
const MANY: u32 = 4500;

async fn fill(store: &SqliteStore, ids: std::ops::Range<u32>, action: Settle) {
    let requests: Vec<_> = ids.map(request).collect();
    let settle = |answer| match answer {
        Claimed::Acquired(lease) => Settlement::new(&lease, action.clone()),
        other => panic!("{other:?}"),
    };
    let settlements: Vec<_> = store.claim(&requests).await.unwrap().into_iter().map(settle).collect();
    store.settle(&settlements).await.unwrap();
}

fn done() -> Settle {
    Settle::Complete { window: HOUR, outcome: None }
}

fn all(state: Option<State>, limit: usize) -> Query {
    Query { filter: Filter { state, ..Filter::default() }, limit, after: None }
}

#[tokio::test]
async fn pages_of_any_size_go_through_a_large_table() {
    let place = place();
    let store = place.config().with_names(Names::Keep).open().unwrap();
    fill(&store, 0..MANY, done()).await;
    for limit in [1000, 2000, 4499, 4500, 1 << 40] {
        let (mut query, mut ids) = (all(None, limit), HashSet::new());
        let mut pages = 0;
        loop {
            let page = store.list(&query).await.unwrap();
            assert!(page.entries.len() == limit.min(MANY as usize) || page.next.is_none());
            ids.extend(page.entries.into_iter().map(|e| e.id.unwrap()));
            pages += 1;
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!((ids.len(), pages), (MANY as usize, (MANY as usize).div_ceil(limit)), "{limit}");
    }
}

#[tokio::test]
async fn the_rare_ones_are_found_among_the_many() {
    let place = place();
    let store = place.store();
    fill(&store, 0..MANY, done()).await;
    fill(&store, MANY..MANY + 3, Settle::Bury { window: HOUR, reason: "no use".into() }).await;
    let page = store.list(&all(Some(State::Buried), 3)).await.unwrap();
    assert_eq!((page.entries.len(), page.next), (3, None), "no empty page after the last");
    assert_eq!(store.list(&all(Some(State::Claimed), 3)).await.unwrap().entries, []);
    let stats = store.stats().await.unwrap();
    assert_eq!(Stats { bytes: None, ..stats }, Stats { done: MANY.into(), buried: 3, ..Stats::default() });
}

#[tokio::test]
async fn a_page_of_large_outcomes_ends_early() {
    let place = place();
    let store = place.store();
    let outcome = Some(Bytes::from(vec![7; 9 << 20]));
    fill(&store, 0..3, Settle::Complete { window: HOUR, outcome }).await;
    let first = store.list(&all(None, 10)).await.unwrap();
    assert_eq!(first.entries.len(), 2);
    let rest = store.list(&Query { after: first.next, ..all(None, 10) }).await.unwrap();
    assert_eq!((rest.entries.len(), rest.next), (1, None));
}

#[tokio::test]
async fn a_look_neither_waits_for_a_writer_nor_holds_up_a_checkpoint() {
    let place = place();
    let store = place.store();
    fill(&store, 0..MANY, done()).await;
    let other = place.connection();
    other.execute_batch("BEGIN IMMEDIATE; CREATE TABLE t (x)").unwrap();
    assert!(store.look(&key(1)).await.unwrap().is_some());
    assert_eq!(store.list(&all(None, 10)).await.unwrap().entries.len(), 10);
    assert_eq!(store.stats().await.unwrap().done, u64::from(MANY));
    other.execute_batch("ROLLBACK").unwrap();
    // A reader that was still at it would keep the log from being cut.
    let busy = other.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |r| r.get(0));
    assert_eq!(busy, Ok(0_i64));
    assert_eq!(log_bytes(&place), 0);
}

fn log_bytes(place: &Place) -> u64 {
    fs::metadata(place.file.with_extension("db-wal")).unwrap().len()
}

#[tokio::test]
async fn the_size_is_that_of_the_file_and_its_log() {
    let place = place();
    let store = place.store();
    fill(&store, 0..100, done()).await;
    let bytes = fs::metadata(&place.file).unwrap().len() + log_bytes(&place);
    assert!(log_bytes(&place) > 0);
    assert_eq!(store.stats().await.unwrap().bytes, Some(bytes));
}

#[tokio::test]
async fn a_file_that_was_moved_away_is_not_looked_into() {
    let place = place();
    let store = place.config().with_sweep(Sweep::Manual).open().unwrap();
    acquire(&store, request("x")).await;
    fs::rename(&place.file, place.directory.path().join("away.db")).unwrap();
    assert_eq!(store.look(&key("x")).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(store.list(&all(None, 1)).await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(!place.file.exists(), "no empty file takes its place");
}

#[tokio::test]
async fn a_setup_that_writes_keeps_nobody_from_looking() {
    let place = place();
    let setup = |conn: &rusqlite::Connection| {
        conn.execute_batch("CREATE TABLE IF NOT EXISTS opened (at); INSERT INTO opened VALUES (unixepoch())")
    };
    let store = place.config().with_setup(setup).open().unwrap();
    acquire(&store, request("x")).await;
    assert_eq!(store.look(&key("x")).await.unwrap().unwrap().record.state, State::Claimed);
    assert!(matches!(store.claim_one(request("x")).await.unwrap(), Claimed::Busy { .. }));
}

#[tokio::test]
async fn a_damaged_record_is_an_error_to_whoever_looks_at_it() {
    let place = place();
    let store = place.store();
    fill(&store, 0..3, done()).await;
    let sql =
        format!("UPDATE {} SET fence = -(1 << 61), life = 1 << 61 WHERE key = ?1", place.generations()[0]);
    assert_eq!(place.connection().execute(&sql, [place.record_key(1)]).unwrap(), 1);
    assert_eq!(store.look(&key(1)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(store.list(&all(None, 9)).await.unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(store.look(&key(2)).await.unwrap().is_some());
}
