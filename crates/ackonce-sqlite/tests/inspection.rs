//! The inspection suite on a file: each client is a store of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

use std::sync::Arc;

use ackonce::store::Inspect;
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::inspection::Fixture;
use async_trait::async_trait;
use tempfile::TempDir;

struct File(TempDir);

#[async_trait]
impl Fixture for File {
    async fn open(&self) -> Arc<dyn Inspect> {
        Arc::new(SqliteStore::open(self.0.path().join("dedup.db")).unwrap())
    }

    fn is_alone(&self) -> bool {
        true
    }
}

ackonce_testkit::inspection!(sqlite, File(tempfile::tempdir().unwrap()));
