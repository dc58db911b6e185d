//! A store's memory is of one file: a backup restored under it, tables made anew and files put in its place are
//! noticed, and no message is granted again that the file says is done.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ackonce::store::{Claimed, DeduplicatorExt, Inspect, Repeat};
use ackonce::{Deduplicator, ErrorKind};
use ackonce_sqlite::SqliteStore;
use common::{HOUR, Place, fill, is_done, key, place, request};
use rusqlite::Connection;
use rusqlite::backup::Backup;

fn copy(from: &Connection, to: &mut Connection) {
    Backup::new(from, to).unwrap().run_to_completion(1000, Duration::ZERO, None).unwrap();
}

/// A copy of the file by SQLite's backup API, to be restored by it.
fn backup(place: &Place) -> Connection {
    let mut kept = Connection::open_in_memory().unwrap();
    copy(&place.connection(), &mut kept);
    kept
}

fn restore(place: &Place, kept: &Connection) {
    copy(kept, &mut place.connection());
}

async fn all_done(store: &SqliteStore, ids: Range<u32>) {
    let answers = store.claim(&ids.clone().map(request).collect::<Vec<_>>()).await.unwrap();
    let again = answers.iter().filter(|a| !matches!(a, Claimed::Done(_))).count();
    assert_eq!(again, 0, "of {} messages that are done are granted again", ids.len());
}

async fn all_new(store: &SqliteStore, ids: Range<u32>) {
    for id in ids {
        assert!(store.look(&key(id)).await.unwrap().is_none(), "{id}");
    }
}

/// The generation that is open in the backup was sealed since, and its filter is in the process's memory.
#[tokio::test]
async fn a_restored_file_is_known_anew() {
    let place = place();
    let store = place.config().with_generation(128).open().unwrap();
    fill(&store, 0..60, HOUR).await;
    let kept = backup(&place);
    fill(&store, 100..600, HOUR).await;
    restore(&place, &kept);
    all_new(&store, 100..110).await;
    fill(&store, 1000..1060, HOUR).await;
    all_done(&store, 0..60).await;
    all_done(&store, 1000..1060).await;
}

/// After the restore generations are given the numbers, and the file as many changes, as before it.
#[tokio::test]
async fn generations_of_the_same_number_are_told_apart() {
    let place = place();
    let [store, other] = [(); 2].map(|()| place.config().with_generation(128).open().unwrap());
    fill(&store, 0..60, HOUR).await;
    let kept = backup(&place);
    for first in (100..1100).step_by(100) {
        fill(&store, first..first + 100, HOUR).await;
    }
    let before = place.generations();
    restore(&place, &kept);
    // The first one has seen nothing of it when the other has written as much as was lost.
    for first in (2000..3000).step_by(100) {
        fill(&other, first..first + 100, HOUR).await;
    }
    assert_eq!(place.generations().len(), before.len(), "the case is the one that is meant");
    all_done(&store, 2000..3000).await;
    all_done(&store, 0..60).await;
    all_new(&store, 100..110).await;
}

/// An older backup after a newer one, and the newer one again.
#[tokio::test]
async fn backups_restored_one_after_another() {
    let place = place();
    let store = place.config().with_generation(128).open().unwrap();
    let mut kept = Vec::new();
    for round in 0..4 {
        fill(&store, round * 300..round * 300 + 300, HOUR).await;
        kept.push(backup(&place));
    }
    for (mark, n) in (5000..).step_by(1000).zip([1, 3, 0, 2, 2, 0]) {
        restore(&place, &kept[n]);
        let end = (u32::try_from(n).unwrap() + 1) * 300;
        fill(&store, mark..mark + 200, HOUR).await;
        all_done(&store, 0..end).await;
        all_done(&store, mark..mark + 200).await;
        all_new(&store, end..end + 3).await;
    }
}

/// The secret is another one, so that each name is.
#[tokio::test]
async fn tables_that_were_made_anew_are_noticed() {
    let place = place();
    let store = place.config().with_generation(128).open().unwrap();
    fill(&store, 0..300, HOUR).await;
    let conn = place.connection();
    for table in place.generations() {
        conn.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    conn.execute_batch(
        "DROP TABLE ackonce_claims; DROP TABLE ackonce_generations; DROP TABLE ackonce_filters;
         DROP TABLE ackonce_audit; DROP TABLE ackonce_meta",
    )
    .unwrap();
    let error = store.claim_one(request("between")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    let other = place.config().with_generation(128).open().unwrap();
    fill(&other, 1000..1010, HOUR).await;
    all_done(&store, 1000..1010).await;
    assert!(store.look(&key(1005)).await.unwrap().is_some());
    all_new(&store, 0..10).await;
    fill(&store, 2000..2300, HOUR).await;
    all_done(&other, 2000..2300).await;
}

/// Between two calls of the first process, so that it never meets the file without tables.
#[tokio::test]
async fn tables_made_anew_in_one_transaction() {
    let place = place();
    let store = place.store();
    fill(&store, 0..10, HOUR).await;
    let fresh = common::place();
    drop(fresh.store());
    let kept = backup(&fresh);
    restore(&place, &kept);
    let other = place.store();
    fill(&other, 100..110, HOUR).await;
    all_done(&store, 100..110).await;
    all_new(&store, 0..10).await;
}

/// Written by a newer version, into the file that this process has open.
#[tokio::test]
async fn a_schema_that_changes_under_the_process_is_refused() {
    let place = place();
    let store = place.store();
    fill(&store, 0..10, HOUR).await;
    let set = |to: i64| {
        place.connection().execute("UPDATE ackonce_meta SET value = ?1 WHERE name = 'schema'", [to]).unwrap()
    };
    set(99);
    let error = store.claim_one(request(11)).await.unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::NewerSchema, Repeat::Never), "{error}");
    set(4);
    assert!(is_done(&store, 5).await);
}

#[tokio::test]
async fn a_copy_that_was_moved_over_the_file() {
    let place = place();
    let store = place.config().with_generation(128).open().unwrap();
    fill(&store, 0..300, HOUR).await;
    let copy = place.directory.path().join("copy.db");
    place.connection().execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    fill(&store, 300..600, HOUR).await;
    fs::rename(&copy, &place.file).unwrap();
    // The log of the old file would be taken for that of the new one, page by page.
    for _ in 0..3 {
        let error = store.claim_one(request(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
        let error = store.look(&key(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
    }
    let error = store.claim_one(request(1)).await.unwrap_err().to_string();
    assert!(error.contains("dedup.db-wal") && error.contains("remove"), "{error}");
    for ending in ["db-wal", "db-shm"] {
        fs::remove_file(place.file.with_extension(ending)).unwrap();
    }
    // Looks alone go on as well, once the idle writer has opened the file.
    while store.look(&key(1)).await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    all_done(&store, 0..300).await;
    all_new(&store, 300..310).await;
    fill(&store, 1000..1300, HOUR).await;
    all_done(&store, 1000..1300).await;
    let check: String = place.connection().query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn a_file_that_was_deleted_is_no_empty_one() {
    let place = place();
    let store = place.store();
    fill(&store, 0..10, HOUR).await;
    for ending in ["db", "db-wal", "db-shm"] {
        fs::remove_file(place.file.with_extension(ending)).unwrap();
    }
    for _ in 0..2 {
        let error = store.claim_one(request(1)).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
        assert!(!place.file.exists());
    }
    let other = place.store();
    fill(&other, 100..110, HOUR).await;
    all_done(&store, 100..110).await;
    all_new(&store, 0..10).await;
}

/// It runs for each new connection, also for the one that an idle writer opens.
#[tokio::test]
async fn a_setup_that_panics_does_not_end_the_writer() {
    let place = place();
    let (panics, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (panicking, count) = (Arc::clone(&panics), Arc::clone(&seen));
    let setup = move |_: &Connection| {
        count.fetch_add(1, Ordering::SeqCst);
        assert!(!panicking.load(Ordering::SeqCst), "told to panic");
        Ok(())
    };
    let store = place.config().with_setup(setup).open().unwrap();
    fill(&store, 0..10, HOUR).await;
    let away = place.directory.path().join("away.db");
    fs::rename(&place.file, &away).unwrap();
    store.claim_one(request(1)).await.unwrap_err();
    panics.store(true, Ordering::SeqCst);
    fs::rename(&away, &place.file).unwrap();
    let before = seen.load(Ordering::SeqCst);
    while seen.load(Ordering::SeqCst) == before {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panics.store(false, Ordering::SeqCst);
    all_done(&store, 0..10).await;
}
