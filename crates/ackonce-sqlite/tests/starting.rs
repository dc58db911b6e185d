//! The errors of opening a file, and the verdict of `connect_at_start` on them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::time::Duration;

use ackonce::ErrorKind;
use ackonce::store::Repeat;
use ackonce_sqlite::SqliteConfig;
use common::place;

#[test]
fn a_file_that_another_process_holds_is_waited_for() {
    let place = place();
    let other = place.connection();
    other.execute_batch("BEGIN EXCLUSIVE; CREATE TABLE t (x)").unwrap();
    let config = SqliteConfig::new(&place.file).with_busy_timeout(Duration::from_millis(50));
    let error = config.clone().open().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert_ne!(error.repeat(), Repeat::Never, "{error}");
    other.execute_batch("COMMIT").unwrap();
    config.open().unwrap();
}

/// The driver panics on more than 24 days.
#[test]
fn a_wait_for_ever_is_no_panic() {
    let place = place();
    SqliteConfig::new(&place.file).with_busy_timeout(Duration::MAX).open().unwrap();
}
