//! The conformance suite on a file: each client is a store of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::conformance::Fixture;
use async_trait::async_trait;
use tempfile::TempDir;

struct File(TempDir);

#[async_trait]
impl Fixture for File {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        Arc::new(SqliteStore::open(self.0.path().join("dedup.db")).unwrap())
    }
}

ackonce_testkit::conformance!(sqlite, File(tempfile::tempdir().unwrap()));
