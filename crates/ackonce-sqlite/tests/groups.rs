//! Group commit: what arrives while the disk is busy shares one transaction.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::path::Path;
use std::time::Duration;

use ackonce::{Claimed, Deduplicator, DeduplicatorExt, ErrorKind, Repeat};
use common::{Place, acquire, complete, place, request};
use futures_util::future::join_all;
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
