//! The conformance suite on a file: each client is a store of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ackonce::Deduplicator;
use ackonce::store::Settle;
use ackonce_sqlite::{SqliteConfig, SqliteStore, rusqlite};
use ackonce_testkit::conformance::{Breakable, CannotFail, Fixture, Outage, copied, swept};
use async_trait::async_trait;
use tempfile::TempDir;

struct File {
    directory: TempDir,
    copy: TempDir,
}

fn file() -> File {
    File { directory: tempfile::tempdir().unwrap(), copy: tempfile::tempdir().unwrap() }
}

fn store(directory: &TempDir) -> SqliteStore {
    SqliteStore::open(directory.path().join("dedup.db")).unwrap()
}

/// A file that somebody else holds the lock of.
struct Locked {
    store: SqliteStore,
    other: Mutex<rusqlite::Connection>,
}

#[async_trait]
impl Breakable for Locked {
    fn client(&self) -> Arc<dyn Deduplicator> {
        Arc::new(self.store.clone())
    }

    async fn fail(&self, failure: Outage) -> Result<(), CannotFail> {
        if failure == Outage::ReplyLost {
            return Err(CannotFail("a commit that fails takes a process of its own: tests/processes.rs"));
        }
        self.other.lock().unwrap().execute_batch("BEGIN IMMEDIATE").unwrap();
        Ok(())
    }

    async fn heal(&self) {
        self.other.lock().unwrap().execute_batch("ROLLBACK").unwrap();
    }
}

#[async_trait]
impl Fixture for File {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        Arc::new(store(&self.directory))
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        copied(&self.directory, &self.copy).unwrap();
        Arc::new(store(&self.copy))
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        let path = self.directory.path().join("dedup.db");
        let config = SqliteConfig::new(&path).with_busy_timeout(Duration::from_millis(200));
        let store = config.open().unwrap();
        Box::new(Locked { store, other: Mutex::new(rusqlite::Connection::open(path).unwrap()) })
    }

    fn impossible(&self) -> Option<Settle> {
        let outcome = vec![0; ackonce_sqlite::MAX_VALUE_LEN + 1];
        Some(Settle::Complete { window: Duration::from_secs(60), outcome: Some(outcome.into()) })
    }

    async fn held(&self) -> u64 {
        swept(&store(&self.directory)).await
    }
}

ackonce_testkit::conformance!(sqlite, file());
