//! A disk without a free byte: nothing is lost, duplicates are answered, and sweeping makes room.
//!
//! The disk is a small one in memory, in a mount namespace of the test's own.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ackonce::store::{Claimed, Repeat, Settle, Settled, Settlement};
use ackonce::{Deduplicator, ErrorKind};
use ackonce_sqlite::{SqliteConfig, SqliteStore, Sweep};
use common::{HOUR, TestClock, is_done, request};

/// Set in the child, which plays its part in the same test.
const DISK: &str = "ACKONCE_TEST_SMALL_DISK";

/// The small disk, in the child; `None` in the parent, once the child has passed.
fn on_a_disk_of(mebibytes: u32, test: &str) -> Option<PathBuf> {
    if let Some(disk) = std::env::var_os(DISK) {
        return Some(disk.into());
    }
    let directory = tempfile::tempdir().unwrap();
    let namespace = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(directory.path());
        command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
        command.env(DISK, directory.path()).output()
    };
    let mount = format!("mount -t tmpfs -o size={mebibytes}m tmpfs \"$0\"");
    let possible = namespace(&mount).is_ok_and(|output| output.status.success());
    if !possible {
        common::say(&format!("NOT TESTED: {test}: no mount namespace (unshare) on this machine"));
        return None;
    }
    let output = namespace(&format!("{mount} && exec \"$@\"")).unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", text.concat());
    assert!(text[0].contains("1 passed"), "{}", text.concat());
    None
}

fn config(disk: &Path, clock: &TestClock) -> SqliteConfig {
    clock.of(SqliteConfig::new(disk.join("dedup.db")))
}

/// Fills the disk up.
fn fill_up(disk: &Path) -> PathBuf {
    let path = disk.join("somebody-elses");
    let mut file = File::create(&path).unwrap();
    for size in [1 << 16, 4096] {
        while file.write_all(&vec![1; size]).is_ok() {}
    }
    path
}

/// Claims and completes the next 250.
async fn write(store: &SqliteStore, next: &mut u32) -> ackonce::Result<()> {
    let requests: Vec<_> = (*next..*next + 250).map(request).collect();
    *next += 250;
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

/// Until the store is full for good; how many were written.
async fn until_full(store: &SqliteStore, next: &mut u32) -> u32 {
    let (mut written, mut failed) = (0, 0);
    while failed < 3 {
        match write(store, next).await {
            Ok(()) => (written, failed) = (written + 1, 0),
            Err(error) => {
                assert_eq!((error.kind(), error.repeat()), (ErrorKind::Full, Repeat::Safe), "{error}");
                failed += 1;
            }
        }
    }
    written * 250
}

/// Tries that many batches, and counts those that are written.
async fn written(store: &SqliteStore, next: &mut u32, of: u32) -> u32 {
    let mut written = 0;
    for _ in 0..of {
        written += u32::from(write(store, next).await.is_ok());
    }
    written
}

#[tokio::test]
async fn a_disk_that_the_store_has_filled_makes_room() {
    let Some(disk) = on_a_disk_of(8, "a_disk_that_the_store_has_filled_makes_room") else { return };
    for records in [1000, 1 << 17] {
        for sweep in [Sweep::Automatic, Sweep::Manual] {
            let clock = TestClock::new();
            let store = config(&disk, &clock).with_sweep(sweep).with_generation(records).open().unwrap();
            let mut next = 0;
            let filled = until_full(&store, &mut next).await;
            assert!(filled > 5000, "{filled}");
            assert!(is_done(&store, 7).await, "a duplicate needs no room");
            for _ in 0..3 {
                clock.advance(24 * HOUR);
                if sweep == Sweep::Manual {
                    assert!(store.sweep().await.unwrap() > 0);
                }
                let written = written(&store, &mut next, 20).await;
                assert!(written >= 15, "{written} of 20 after {filled} records");
            }
            drop(store);
            emptied(&disk).await;
        }
    }
}

#[tokio::test]
async fn a_disk_that_somebody_else_has_filled_makes_room_and_grows_again() {
    let Some(disk) = on_a_disk_of(24, "a_disk_that_somebody_else_has_filled_makes_room_and_grows_again")
    else {
        return;
    };
    for records in [1000, 1 << 17] {
        for before in [1, 20, 60] {
            let clock = TestClock::new();
            let store = config(&disk, &clock).with_generation(records).open().unwrap();
            let mut next = 0;
            assert_eq!(written(&store, &mut next, before).await, before);
            let other = fill_up(&disk);
            until_full(&store, &mut next).await;
            assert!(is_done(&store, 7).await, "a duplicate needs no room");
            clock.advance(24 * HOUR);
            let written = written(&store, &mut next, before + 20).await;
            assert!(written > before / 2, "{written} after {before}");
            fs::remove_file(other).unwrap();
            tokio::time::sleep(Duration::from_millis(600)).await;
            assert_eq!(self::written(&store, &mut next, before).await, before, "it may grow again");
            drop(store);
            emptied(&disk).await;
        }
    }
}

#[tokio::test]
async fn a_store_is_opened_on_a_full_disk() {
    let Some(disk) = on_a_disk_of(16, "a_store_is_opened_on_a_full_disk") else { return };
    let clock = TestClock::new();
    let store = config(&disk, &clock).open().unwrap();
    let mut next = 0;
    written(&store, &mut next, 40).await;
    drop(store);
    while disk.join("dedup.db-wal").exists() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    fill_up(&disk);
    let store = config(&disk, &clock).open().unwrap();
    assert!(is_done(&store, 7).await);
    clock.advance(24 * HOUR);
    let written = written(&store, &mut next, 20).await;
    assert!(written >= 15, "{written} of 20");
}

/// Not even the reserve is left, and there is something to sweep.
#[tokio::test]
async fn duplicates_are_answered_without_any_room() {
    let Some(disk) = on_a_disk_of(16, "duplicates_are_answered_without_any_room") else { return };
    let clock = TestClock::new();
    let store = config(&disk, &clock).with_generation(1000).open().unwrap();
    let mut next = 0;
    written(&store, &mut next, 20).await;
    common::fill(&store, 100_000..102_000, 48 * HOUR).await;
    fs::remove_file(disk.join("dedup.db-reserve")).unwrap();
    fill_up(&disk);
    until_full(&store, &mut next).await;
    clock.advance(24 * HOUR);
    for id in (100_000..102_000).step_by(100) {
        assert!(is_done(&store, id).await, "{id}");
    }
}

/// Waits until the file is closed, and starts over.
async fn emptied(disk: &Path) {
    // On a full disk the log may stay.
    tokio::time::sleep(Duration::from_millis(100)).await;
    for entry in fs::read_dir(disk).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
}
