//! Random histories of two processes on one file.
//!
//! SQLite's locks belong to processes, and so does the shared memory of its log: two stores in one process do not meet
//! as two processes do.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod common;

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use ackonce_sqlite::{SqliteConfig, SqliteStore, Sweep};
use ackonce_testkit::histories::{Fixture, Party, serve};
use async_trait::async_trait;
use common::{Place, TestClock, place};

/// Set in the other process, which then serves in its test.
const FILE: &str = "ACKONCE_TEST_FILE";

struct File {
    place: Place,
    clock: TestClock,
}

/// Generations as small as they may be, so that histories see them filled and sealed.
fn open(config: SqliteConfig, clock: &TestClock) -> SqliteStore {
    clock.of(config).with_generation(128).open().unwrap()
}

#[async_trait]
impl Fixture for File {
    /// The other process sweeps as it goes.
    async fn open(&self, which: usize) -> Party {
        if which == 0 {
            return Party::here(Arc::new(open(self.place.config(), &self.clock)));
        }
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "the_other_process_serves", "--nocapture"]).env(FILE, &self.place.file);
        Party::process(command)
    }

    async fn pass(&self, time: Duration) -> Option<u64> {
        self.clock.advance(time);
        Some(self.clock.micros())
    }

    fn histories(&self) -> u32 {
        16
    }
}

/// By itself it shows that a process without calls ends.
#[tokio::test]
async fn the_other_process_serves() {
    let Some(file) = std::env::var_os(FILE) else {
        let file = File { place: place(), clock: TestClock::new() };
        return drop(file.open(1).await);
    };
    let clock = TestClock::new();
    let config = SqliteConfig::new(file).with_sweep(Sweep::Automatic);
    serve(&open(config, &clock), |now| clock.set(now)).await;
}

ackonce_testkit::histories!(sqlite_histories, File { place: place(), clock: TestClock::new() });
