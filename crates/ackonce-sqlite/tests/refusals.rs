//! The files that a store refuses to open, and the errors.
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::process::Command;

use ackonce::store::{DeduplicatorExt, Repeat};
use ackonce::{Deduplicator, ErrorKind};
use ackonce_sqlite::{SqliteStore, Synchronous};
use common::{acquire, place, request};

#[tokio::test]
async fn records_of_a_newer_version() {
    let place = place();
    drop(place.store());
    place.connection().execute("UPDATE ackonce_meta SET value = 5 WHERE name = 'schema'", []).unwrap();
    let error = SqliteStore::open(&place.file).unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::NewerSchema, Repeat::Never));
    assert!(ackonce::chain(&error).to_string().contains("upgrade ackonce-sqlite"), "{error}");
    place.connection().execute("UPDATE ackonce_meta SET value = 1 WHERE name = 'schema'", []).unwrap();
    let error = SqliteStore::open(&place.file).unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Never), "of an earlier one");
    place.connection().execute("UPDATE ackonce_meta SET value = 4 WHERE name = 'schema'", []).unwrap();
    place.connection().execute("DELETE FROM ackonce_meta WHERE name = 'incarnation'", []).unwrap();
    let error = SqliteStore::open(&place.file).unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Config, Repeat::Never), "of an earlier one");
    place.connection().execute("DELETE FROM ackonce_meta", []).unwrap();
    assert_eq!(SqliteStore::open(&place.file).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[tokio::test]
async fn tables_of_somebody_else() {
    let place = place();
    place.connection().execute_batch("CREATE TABLE ackonce_claims (x)").unwrap();
    let error = SqliteStore::open(&place.file).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config, "{error}");
}

#[tokio::test]
async fn a_database_of_the_users_own_is_left_as_it_is() {
    let place = place();
    let conn = place.connection();
    conn.execute_batch("CREATE TABLE account (id); PRAGMA user_version = 41; PRAGMA application_id = 42")
        .unwrap();
    acquire(&place.store(), request("x")).await;
    for (pragma, expected) in [("user_version", 41), ("application_id", 42)] {
        let value: i64 = conn.pragma_query_value(None, pragma, |r| r.get(0)).unwrap();
        assert_eq!(value, expected, "{pragma}");
    }
}

#[test]
fn what_is_no_database() {
    let place = place();
    fs::write(&place.file, vec![b'x'; 8192]).unwrap();
    let error = SqliteStore::open(&place.file).unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Corrupt, Repeat::Never), "{error}");
}

#[tokio::test]
async fn a_damaged_page_is_an_error_and_never_an_answer() {
    let place = place();
    let requests: Vec<_> = (0..2000).map(request).collect();
    place.store().claim(&requests).await.unwrap();
    {
        let conn = place.connection();
        conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(())).unwrap();
    }
    let pages = fs::metadata(&place.file).unwrap().len() / 4096;
    let file = fs::OpenOptions::new().write(true).open(&place.file).unwrap();
    // All but the first ones: schema, meta and the root of the records.
    for page in 4..pages {
        file.write_all_at(&[0xa5; 512], page * 4096).unwrap();
    }
    let store = place.store();
    let error = store.claim_one(request(7)).await.unwrap_err();
    assert_eq!((error.kind(), error.repeat()), (ErrorKind::Corrupt, Repeat::Never), "{error}");
}

#[test]
fn weaknesses_are_listed() {
    let place = place();
    let strong = place.store().describe();
    assert!(strong.name.starts_with("sqlite /") && strong.name.ends_with("dedup.db"), "{}", strong.name);
    let weak = place.config().with_synchronous(Synchronous::Normal).open().unwrap().describe();
    assert_eq!(weak.weaknesses.len(), strong.weaknesses.len() + 1);
    assert!(weak.weaknesses.last().unwrap().starts_with("synchronous=NORMAL"));
}

#[tokio::test]
async fn a_file_that_was_moved_away() {
    let place = place();
    let store = place.store();
    let lease = acquire(&store, request("x")).await;
    let away = place.directory.path().join("away.db");
    fs::rename(&place.file, &away).unwrap();
    for _ in 0..2 {
        let error = store.claim_one(request("y")).await.unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::Unavailable, Repeat::Safe), "{error}");
        assert!(!place.file.exists(), "no empty file takes its place");
    }
    fs::rename(&away, &place.file).unwrap();
    common::complete(&store, &lease, common::HOUR).await;
}

/// Permissions do not bind root, so root plays this test as somebody else.
#[test]
fn a_read_only_file() {
    const FILE: &str = "ACKONCE_TEST_READ_ONLY_FILE";
    if let Ok(file) = std::env::var(FILE) {
        let error = SqliteStore::open(file).unwrap_err();
        assert_eq!((error.kind(), error.repeat()), (ErrorKind::ReadOnly, Repeat::Never), "{error}");
        return;
    }
    let place = place();
    drop(place.connection().execute_batch("CREATE TABLE t (x)"));
    let open = fs::Permissions::from_mode(0o755);
    fs::set_permissions(&place.file, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(place.directory.path(), open.clone()).unwrap();
    let program = place.directory.path().join("test");
    fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    fs::set_permissions(&program, open).unwrap();
    let mut child = Command::new(&program);
    child.args(["--exact", "a_read_only_file"]).env(FILE, &place.file).current_dir(place.directory.path());
    if rustix::process::geteuid().is_root() {
        child.uid(65534).gid(65534);
    }
    let output = child.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
