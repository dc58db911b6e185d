//! Many at once on the same records and the same rows: no deadlock of ours, and those of others are undone.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackonce::adapter::Mode;
use ackonce::store::{Claimed, DeduplicatorExt, Settle, Settled, Settlement};
use ackonce::{Context, Deduplicator, Failure, Handler};
use ackonce_postgres::tokio_postgres::Transaction;
use ackonce_postgres::{Entered, GuardOptions, InboxSettings, PostgresGuard, PostgresStore};
use common::deliveries::deliver;
use common::{HOUR, Place, acquire, alone, complete, done, item, key, place, request};
use futures_util::future::join_all;

const KEYS: usize = 60;

/// Claims all of them in an order of its own, again and again, and completes the granted ones.
async fn worker(store: PostgresStore, n: usize) -> usize {
    let steps = [1, 7, 11, 13, 17, 19, 23, 29];
    let mut completed = 0;
    for round in 0..20 {
        let ids = (0..KEYS).map(|k| (k * steps[n % 8] + round) % KEYS);
        let requests: Vec<_> = ids.map(|id| request(format!("{} {id}", round / 4))).collect();
        let answers = store.claim(&requests).await.unwrap();
        let got = answers.into_iter().filter_map(|answer| match answer {
            Claimed::Acquired(lease) => Some(lease),
            _ => None,
        });
        let extend = Settle::Extend { lease: HOUR, window: HOUR };
        let got: Vec<_> = got.collect();
        for action in [extend, done()] {
            let settlements: Vec<_> =
                got.iter().map(|lease| Settlement::new(lease, action.clone())).collect();
            let settled = store.settle(&settlements).await.unwrap();
            assert!(settled.iter().all(|answer| *answer == Settled::Yes));
        }
        completed += got.len();
    }
    completed
}

async fn overlap(place: &Place) -> usize {
    let stores = join_all((0..8).map(|_| place.store())).await;
    let workers = stores.into_iter().enumerate().map(|(n, store)| tokio::spawn(worker(store, n)));
    join_all(workers).await.into_iter().map(Result::unwrap).sum()
}

const DEADLOCKS: &str = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";

#[tokio::test(flavor = "multi_thread")]
async fn batches_that_overlap_never_deadlock() {
    let Some(place) = alone().await else { return };
    assert_eq!(overlap(&place).await, 5 * KEYS, "each completed once");
    assert_eq!(place.value(DEADLOCKS).await, 0);
}

/// A role's transactions may be stricter than the store needs: a statement that the server undoes for that is sent again.
#[tokio::test(flavor = "multi_thread")]
async fn batches_that_overlap_are_answered_in_strict_transactions() {
    let Some(place) = place() else { return };
    let url = format!("{}?options=-cdefault_transaction_isolation=serializable", place.url);
    assert_eq!(overlap(&Place { url, ..place }).await, 5 * KEYS, "each completed once");
}

/// A transaction of the user's that entered one message and comes for another, the other way round than a batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_with_the_users_transaction_ends_one_of_them() {
    let Some(place) = alone().await else { return };
    let store = place.config().with_lock_timeout(HOUR).connect().await.unwrap();
    let options = GuardOptions::default();
    let mut client = place.client().await;
    client.batch_execute("SET deadlock_timeout = '1h'").await.unwrap();
    let pair = [request("a"), request("b")];
    let tx = client.transaction().await.unwrap();
    for request in &pair {
        assert!(matches!(
            PostgresGuard::enter_in(&place.schema, &tx, &request.key, &options).await.unwrap(),
            Entered::First(_)
        ));
    }
    // The order in which a batch locks: that of its keys in the table, where `a` was entered first.
    let a_is_first: bool = tx.query_one("SELECT (SELECT min(key::text) FROM record) = (SELECT key::text FROM record ORDER BY ctid LIMIT 1)", &[]).await.unwrap().get(0);
    tx.rollback().await.unwrap();
    let (early, late) = if a_is_first { ("a", "b") } else { ("b", "a") };
    let tx = client.transaction().await.unwrap();
    let Entered::First(guard) =
        PostgresGuard::enter_in(&place.schema, &tx, &key(late), &options).await.unwrap()
    else {
        panic!()
    };
    let batch = async { store.claim(&pair).await.unwrap() };
    let users = async {
        until_waiting(&place, 1).await;
        let Entered::First(other) =
            PostgresGuard::enter_in(&place.schema, &tx, &key(early), &options).await.unwrap()
        else {
            panic!()
        };
        guard.finish(&tx).await.unwrap();
        other.finish(&tx).await.unwrap();
        tx.commit().await.unwrap();
    };
    let (answers, ()) = futures_util::future::join(batch, users).await;
    assert!(
        answers.iter().all(|answer| matches!(answer, Claimed::Done(_))),
        "undone and asked again: {answers:?}"
    );
    // The count comes some time after the event.
    while place.value(DEADLOCKS).await == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until that many wait for a row of that place's schema.
async fn until_waiting(place: &Place, count: i64) {
    let text = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%{}%'",
        place.schema.as_str()
    );
    while place.value(&text).await < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_record_that_somebody_holds_is_waited_for_so_long_and_no_longer() {
    let Some(place) = place() else { return };
    let store = place.config().with_lock_timeout(Duration::from_millis(50)).connect().await.unwrap();
    let mut client = place.client().await;
    let tx = client.transaction().await.unwrap();
    let options = GuardOptions::default();
    let Entered::First(guard) =
        PostgresGuard::enter_in(&place.schema, &tx, &key("held"), &options).await.unwrap()
    else {
        panic!()
    };
    let answer = store.claim_one(request("held")).await.unwrap();
    assert!(matches!(answer, Claimed::Busy { .. }), "{answer:?}");
    acquire(&store, request("another")).await;
    guard.finish(&tx).await.unwrap();
    tx.commit().await.unwrap();
    assert!(common::is_done(&store, "held").await);
}

async fn with_rows(place: &Place) -> PostgresStore {
    let store = place.store().await;
    let tables = "CREATE TABLE effect (n int8 NOT NULL);
        CREATE TABLE account (n int8 PRIMARY KEY, balance int8 NOT NULL DEFAULT 0);
        INSERT INTO account SELECT generate_series(0, 1)";
    place.client().await.batch_execute(tables).await.unwrap();
    store
}

/// Handlers that wait for one hot row take the inbox's connections, and nobody else's.
#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_wait_for_a_row_starve_no_claim_and_no_heartbeat() {
    let Some(place) = place() else { return };
    let store = with_rows(&place).await;
    let mut rival = place.client().await;
    let held = rival.transaction().await.unwrap();
    held.execute("UPDATE account SET balance = balance WHERE n = 0", &[]).await.unwrap();
    let update = place.text("UPDATE account SET balance = balance + 1 WHERE n = 0");
    let inbox = store
        .inbox(move |tx: &Transaction<'_>, _: Context, (): ()| {
            let update = update.clone();
            Box::pin(async move { Ok::<_, Failure>(tx.batch_execute(&update).await?) })
        })
        .with_settings(InboxSettings::default().with_connections(2).with_lock_timeout(Some(HOUR)));
    let mut leases = Vec::new();
    for n in 0..12 {
        leases.push(acquire(&store, request(format!("hot {n}"))).await);
    }
    let runs = join_all(leases.iter().map(|lease| inbox.handle(vec![item(lease, ())])));
    let others = async {
        until_waiting(&place, 2).await;
        let extend = Settle::Extend { lease: HOUR, window: HOUR };
        let beats: Vec<_> = leases.iter().map(|lease| Settlement::new(lease, extend.clone())).collect();
        assert!(store.settle(&beats).await.unwrap().iter().all(|answer| *answer == Settled::Yes));
        let lease = acquire(&store, request("cold")).await;
        complete(&store, &lease).await;
        held.rollback().await.unwrap();
    };
    let (answers, ()) = futures_util::future::join(runs, others).await;
    assert!(answers.iter().flatten().all(Result::is_ok), "{answers:?}");
    assert_eq!(place.value("SELECT balance FROM account WHERE n = 0").await, 12);
}

/// Two handlers that lock two rows in opposite orders: PostgreSQL undoes one, which runs again as a whole and is
/// charged no attempt.
#[tokio::test(flavor = "multi_thread")]
async fn handlers_that_deadlock_run_again_as_a_whole() {
    let Some(place) = place() else { return };
    let store = with_rows(&place).await;
    let (insert, update) = (
        place.text("INSERT INTO effect VALUES ($1)"),
        place.text("UPDATE account SET balance = balance + 1 WHERE n = $1"),
    );
    let runs = Arc::new(AtomicUsize::new(0));
    let (counted, both) = (Arc::clone(&runs), Arc::new(tokio::sync::Barrier::new(2)));
    let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, n: i64| {
        let (insert, update, both) = (insert.clone(), update.clone(), Arc::clone(&both));
        let run = counted.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            assert_eq!(cx.attempt(), 1);
            tx.execute(&insert, &[&n]).await?;
            tx.execute(&update, &[&n]).await?;
            if run < 2 {
                both.wait().await;
            }
            tx.execute(&update, &[&(1 - n)]).await?;
            Ok::<_, Failure>(())
        })
    });
    deliver(&store, 0..2, Mode::Each, inbox).await;
    assert!(runs.load(Ordering::SeqCst) > 2, "one was undone");
    assert_eq!(place.value("SELECT count(*) FROM effect").await, 2);
    assert_eq!(place.value("SELECT sum(balance)::int8 FROM account").await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_serialization_failure_runs_the_handler_again_as_a_whole() {
    let Some(place) = place() else { return };
    let store = with_rows(&place).await;
    let insert = place.text("INSERT INTO effect VALUES ($1)");
    let runs: Arc<std::sync::Mutex<BTreeMap<i64, u32>>> = Arc::default();
    let counted = Arc::clone(&runs);
    let inbox = store.inbox(move |tx: &Transaction<'_>, cx: Context, n: i64| {
        let (insert, counted) = (insert.clone(), Arc::clone(&counted));
        Box::pin(async move {
            assert_eq!(cx.attempt(), 1);
            tx.execute(&insert, &[&n]).await?;
            let run = { *counted.lock().unwrap().entry(n).and_modify(|n| *n += 1).or_insert(1) };
            if run == 1 && n % 3 == 0 {
                let failure = "DO $$ BEGIN RAISE EXCEPTION 'as if' USING ERRCODE = '40001'; END $$";
                // Through a function that hides the driver's error, and at once.
                let helped = async { anyhow::Ok(tx.batch_execute(failure).await?) };
                match n % 2 {
                    0 => helped.await?,
                    _ => tx.batch_execute(failure).await?,
                }
            }
            Ok::<_, Failure>(())
        })
    });
    deliver(&store, 0..60, Mode::Batches, inbox).await;
    let expected = (0..60).map(|n| (n, if n % 3 == 0 { 2 } else { 1 })).collect();
    assert_eq!(*runs.lock().unwrap(), expected);
    assert_eq!(place.value("SELECT count(DISTINCT n) FROM effect").await, 60);
    assert_eq!(place.value("SELECT count(*) FROM effect").await, 60);
}
