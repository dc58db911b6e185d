//! Group commit: commands that arrive while the disk is busy share one transaction.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::time::Duration;

use ackonce::store::{Claimed, DeduplicatorExt, Repeat, Settle, Settlement};
use ackonce::{Context, Deduplicator, ErrorKind, Failure, Handler};
use ackonce_sqlite::InboxTx;
use common::{Place, acquire, complete, place, request};
use futures_util::future::{join, join_all};
use futures_util::poll;

/// Transactions in the log: its frames after which the database has a size (sqlite.org/fileformat.html).
fn transactions(place: &Place) -> usize {
    let log = std::fs::read(place.file.with_extension("db-wal")).unwrap();
    let page = u32::from_be_bytes(log[8..12].try_into().unwrap()) as usize;
    log[32..].chunks_exact(24 + page).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn concurrent_calls_share_a_transaction() {
    let place = place();
    let store = place.store();
    acquire(&store, request("warm-up")).await;
    let before = transactions(&place);
    let other = place.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut calls = Box::pin(join_all((0..200).map(|id| store.claim_one(request(id)))));
    // All are queued behind the other connection's lock.
    assert!(poll!(&mut calls).is_pending());
    other.execute_batch("ROLLBACK").unwrap();
    for answer in calls.await {
        assert!(matches!(answer.unwrap(), Claimed::Acquired(_)));
    }
    assert_eq!(transactions(&place) - before, 1);
}

#[tokio::test]
async fn duplicates_write_nothing() {
    let place = place();
    let store = place.store();
    for id in 0..10 {
        let lease = acquire(&store, request(id)).await;
        complete(&store, &lease, common::HOUR).await;
    }
    let before = transactions(&place);
    let again: Vec<_> = (0..10).map(request).collect();
    for answer in store.claim(&again).await.unwrap() {
        assert!(matches!(answer, Claimed::Done(_)));
    }
    assert_eq!(transactions(&place), before);
}

#[tokio::test]
async fn a_lock_held_elsewhere_answers_everybody_once_it_times_out() {
    let place = place();
    let store = place.config().with_busy_timeout(Duration::from_millis(50)).open().unwrap();
    let other = place.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    for answer in join_all((0..100).map(|id| store.claim_one(request(id)))).await {
        let error = answer.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
    }
    other.execute_batch("ROLLBACK").unwrap();
    acquire(&store, request(1)).await;
}

#[tokio::test]
async fn a_claim_whose_caller_has_gone_is_not_made() {
    let place = place();
    let store = place.store();
    let other = place.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut ahead = Box::pin(store.claim_one(request("ahead")));
    assert!(poll!(&mut ahead).is_pending());
    let mut gone = Box::pin(store.claim_one(request("gone")));
    assert!(poll!(&mut gone).is_pending());
    drop(gone);
    other.execute_batch("ROLLBACK").unwrap();
    ahead.await.unwrap();
    assert_eq!(acquire(&store, request("gone")).await.attempt, 1);
}

#[tokio::test]
async fn what_is_queued_is_finished_when_the_store_is_dropped() {
    let place = place();
    let store = place.store();
    let lease = acquire(&store, request("x")).await;
    let other = place.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    {
        let complete = complete(&store, &lease, common::HOUR);
        let mut complete = Box::pin(complete);
        assert!(poll!(&mut complete).is_pending());
    }
    drop(store);
    other.execute_batch("ROLLBACK").unwrap();
    // The log is removed with the last connection.
    drop(other);
    let log = place.file.with_extension("db-wal");
    while Path::exists(&log) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(common::is_done(&place.store(), "x").await);
}

/// Otherwise a filter of records that were never committed would deny those that another process put there.
#[tokio::test]
async fn what_an_undone_group_told_of_generations_is_not_believed() {
    let place = place();
    place
        .connection()
        .execute_batch(
            "CREATE TABLE owner (id TEXT PRIMARY KEY);
             CREATE TABLE pet (owner TEXT REFERENCES owner DEFERRABLE INITIALLY DEFERRED)",
        )
        .unwrap();
    let [store, other] = [(); 2].map(|()| place.config().with_generation(128).open().unwrap());
    for id in 0..127 {
        complete(&store, &acquire(&store, request(id)).await, common::HOUR).await;
    }
    let (last, rival) = (acquire(&store, request("last")).await, acquire(&store, request("rival")).await);
    let orphan = acquire(&store, request("orphan")).await;
    let inbox = store.inbox(|tx: &InboxTx<'_>, _: &Context, (): &()| {
        tx.execute("INSERT INTO pet VALUES ('nobody')", [])?;
        Ok::<_, Failure>(())
    });
    let blocker = place.connection();
    blocker.execute_batch("BEGIN IMMEDIATE").unwrap();
    // The last record seals the generation; the orphan's commit is refused, and theirs with it.
    let done = Settle::Complete { window: common::HOUR, outcome: None };
    let last = store.settle_one(Settlement::new(&last, done));
    let mut group = Box::pin(join(last, inbox.handle(vec![common::item(&orphan, ())])));
    assert!(poll!(&mut group).is_pending());
    blocker.execute_batch("ROLLBACK").unwrap();
    let (settled, _) = group.await;
    assert_eq!(settled.unwrap_err().repeat(), Repeat::Safe);
    // Now it is sealed, as the first change since, with another record.
    complete(&other, &rival, common::HOUR).await;
    assert!(common::is_done(&store, "rival").await);
}
