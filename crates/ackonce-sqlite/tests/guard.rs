//! The guard in a transaction of the user's own.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use ackonce::ErrorKind;
use ackonce::store::{Claimed, DeduplicatorExt, Fingerprint, State};
use ackonce_sqlite::{Entered, GuardOptions, SqliteGuard, create_schema};
use bytes::Bytes;
use common::{HOUR, acquire, complete, is_done, key, place, request};
use rusqlite::TransactionBehavior::{Deferred, Immediate};

fn options() -> GuardOptions {
    GuardOptions::default()
}

#[tokio::test]
async fn the_store_and_the_guard_see_each_other() {
    let place = place();
    let store = place.store();
    let mut conn = place.connection();
    conn.execute_batch("CREATE TABLE effect (id)").unwrap();
    for round in 0..2 {
        let tx = conn.transaction_with_behavior(Immediate).unwrap();
        match SqliteGuard::enter(&tx, &key("a"), &options()).unwrap() {
            Entered::First(guard) if round == 0 => {
                tx.execute("INSERT INTO effect VALUES ('a')", []).unwrap();
                guard.with_outcome(Bytes::from_static(b"out")).finish(&tx).unwrap();
                tx.commit().unwrap();
            }
            Entered::Duplicate(record) if round == 1 => assert_eq!(record.state, State::Done),
            other => panic!("{other:?}"),
        }
    }
    let Claimed::Done(record) = store.claim_one(request("a")).await.unwrap() else { panic!() };
    assert_eq!(record.outcome.as_deref(), Some(&b"out"[..]));

    let lease = acquire(&store, request("held")).await;
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    let entry = SqliteGuard::enter(&tx, &key("held"), &options()).unwrap();
    assert!(matches!(entry, Entered::Busy { free_in } if free_in <= HOUR));
    tx.rollback().unwrap();
    complete(&store, &lease, HOUR).await;
}

#[test]
fn another_payload_under_the_same_id_is_noticed() {
    let mut conn = rusqlite::Connection::open_in_memory().unwrap();
    create_schema(&conn).unwrap();
    create_schema(&conn).unwrap();
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    let print = |payload: &[u8]| options().with_fingerprint(Fingerprint::of(payload));
    let Entered::First(guard) = SqliteGuard::enter(&tx, &key("a"), &print(b"1")).unwrap() else { panic!() };
    guard.finish(&tx).unwrap();
    assert!(matches!(SqliteGuard::enter(&tx, &key("a"), &print(b"1")).unwrap(), Entered::Duplicate(_)));
    assert!(matches!(SqliteGuard::enter(&tx, &key("a"), &print(b"2")).unwrap(), Entered::Mismatch(_)));
}

#[tokio::test]
async fn what_is_rolled_back_runs_again() {
    let place = place();
    let store = place.store();
    let mut conn = place.connection();
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    let Entered::First(guard) = SqliteGuard::enter(&tx, &key("a"), &options()).unwrap() else { panic!() };
    guard.finish(&tx).unwrap();
    drop(tx);
    assert!(!is_done(&store, "a").await);
}

#[test]
fn a_transaction_that_was_not_begun_for_writing_is_refused() {
    let place = place();
    let mut conn = place.connection();
    create_schema(&conn).unwrap();
    let tx = conn.transaction_with_behavior(Deferred).unwrap();
    let error = SqliteGuard::enter(&tx, &key("a"), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(ackonce::chain(&error).to_string().contains("TransactionBehavior::Immediate"), "{error}");
}

#[test]
fn finish_fails_once_the_claim_is_gone() {
    let place = place();
    let mut conn = place.connection();
    create_schema(&conn).unwrap();
    conn.execute_batch("CREATE TABLE effect (id UNIQUE); INSERT INTO effect VALUES ('x')").unwrap();
    let spoils = [
        // SQLite rolls the transaction back by itself, and the caller swallows that.
        "INSERT OR ROLLBACK INTO effect VALUES ('x')",
        "ROLLBACK TO earlier",
        "UPDATE ackonce_claims SET fence = fence + 1",
    ];
    for spoil in spoils {
        let tx = conn.transaction_with_behavior(Immediate).unwrap();
        tx.execute_batch("SAVEPOINT earlier").unwrap();
        let Entered::First(guard) = SqliteGuard::enter(&tx, &key("a"), &options()).unwrap() else { panic!() };
        drop(tx.execute_batch(spoil));
        let error = guard.finish(&tx).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Protocol, "{spoil}: {error}");
    }
}

#[test]
fn missing_tables_and_weak_settings_are_named() {
    let place = place();
    let mut conn = place.connection();
    conn.pragma_update(None, "synchronous", "NORMAL").unwrap();
    assert_eq!(SqliteGuard::weaknesses(&conn).unwrap().len(), 1);
    conn.pragma_update(None, "synchronous", "FULL").unwrap();
    assert!(SqliteGuard::weaknesses(&conn).unwrap().is_empty());
    let tx = conn.transaction_with_behavior(Immediate).unwrap();
    let error = SqliteGuard::enter(&tx, &key("a"), &options()).unwrap_err();
    assert!(ackonce::chain(&error).to_string().contains("create_schema"), "{error}");
}
