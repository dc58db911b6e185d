//! Tables of other crates in the store's file: writes on the store's writer, connections that read.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce::store::{Claimed, DeduplicatorExt};
use ackonce::{CancellationToken, Context, Failure, Handler, Item};
use ackonce_sqlite::{InboxTx, SqliteStore, rusqlite};

use common::request;

async fn store() -> (tempfile::TempDir, SqliteStore) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(directory.path().join("app.db")).unwrap();
    store
        .write(|tx| {
            tx.execute_batch("CREATE TABLE ackonce_outbox (n INTEGER); CREATE TABLE t (n INTEGER UNIQUE)")
        })
        .await
        .unwrap();
    (directory, store)
}

#[tokio::test]
async fn a_write_that_fails_is_undone_alone() {
    let (_directory, store) = store().await;
    let failing = store.write(|tx| {
        tx.execute("INSERT INTO t VALUES (1)", [])?;
        tx.execute("INSERT INTO t VALUES (1)", [])
    });
    // Most often in one group with it.
    let claim = store.claim_one(request("a"));
    let good = store.write(|tx| tx.execute("INSERT INTO t VALUES (2)", []));
    let (failed, claimed, good) = tokio::join!(failing, claim, good);
    assert!(failed.is_err());
    assert!(matches!(claimed.unwrap(), Claimed::Acquired(_)));
    assert_eq!(good.unwrap(), 1);
    let reader = store.connect_read_only().unwrap();
    let sum: i64 = reader.query_row("SELECT sum(n) FROM t", [], |row| row.get(0)).unwrap();
    assert_eq!(sum, 2);
    assert!(reader.execute("INSERT INTO t VALUES (3)", []).is_err(), "it only reads");
}

/// Waits with SQLite's own pauses, of up to 100 ms, find the lock of a busy store free once in many seconds: workers that
/// started beside it ended after five.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_beside_one_that_writes_without_a_break_does_not_starve() {
    let (directory, busy) = store().await;
    let file = directory.path().join("app.db");
    let end = CancellationToken::new();
    let writers: Vec<_> = (0..8)
        .map(|n| {
            let (busy, end) = (busy.clone(), end.clone());
            tokio::spawn(async move {
                let mut writes = 0_u32;
                while !end.is_cancelled() {
                    busy.write(move |tx| {
                        std::thread::sleep(Duration::from_millis(5));
                        tx.execute("INSERT OR IGNORE INTO t VALUES (?1)", [n])
                    })
                    .await
                    .unwrap();
                    writes += 1;
                }
                writes
            })
        })
        .collect();
    // The waiter that the guard's page shows, on a connection of the user's.
    let mut own = rusqlite::Connection::open(&file).unwrap();
    own.busy_handler(Some(|asked| {
        std::thread::sleep(Duration::from_millis(1));
        asked < 5000
    }))
    .unwrap();
    for n in 100..120 {
        own.execute("INSERT INTO t VALUES (?1)", [n + 100]).unwrap();
        // As a worker that is started again does.
        let beside = SqliteStore::open(&file).unwrap();
        beside.write(move |tx| tx.execute("INSERT INTO t VALUES (?1)", [n])).await.unwrap();
    }
    end.cancel();
    for writer in writers {
        assert!(writer.await.unwrap() > 0, "the other one was not busy");
    }
}

#[tokio::test]
async fn a_handler_may_publish_into_the_outbox_and_do_nothing_else_to_it() {
    let (_directory, store) = store().await;
    let run = async |sql: &'static str, id: &str| {
        let inbox = store.inbox(move |tx: &InboxTx<'_>, _cx: &Context, (): &()| {
            tx.execute(sql, [])?;
            Ok::<_, Failure>(())
        });
        let Claimed::Acquired(lease) = store.claim_one(request(id)).await.unwrap() else {
            panic!("it is new")
        };
        let cx = Context::new(lease, CancellationToken::new()).with_window(Duration::from_secs(3600));
        inbox.handle(vec![Item { cx, message: () }]).await.remove(0).is_ok()
    };
    assert!(run("INSERT INTO ackonce_outbox VALUES (1)", "insert").await);
    assert!(!run("DELETE FROM ackonce_outbox", "delete").await);
    assert!(!run("UPDATE ackonce_outbox SET n = 2", "update").await);
    assert!(!run("INSERT INTO ackonce_meta VALUES ('x', 1)", "other").await);
}
