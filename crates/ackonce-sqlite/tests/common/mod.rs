//! What the tests share.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::path::PathBuf;
use std::time::Duration;

use ackonce::{
    CancellationToken, ClaimRequest, Claimed, Context, DeduplicatorExt, Item, Key, Lease, Scope, Settle,
    Settled, Settlement, Token,
};
use ackonce_sqlite::{SqliteConfig, SqliteStore, Sweep};
use tempfile::TempDir;

pub const HOUR: Duration = Duration::from_secs(3600);

/// A file in a directory of its own.
pub struct Place {
    pub directory: TempDir,
    pub file: PathBuf,
}

pub fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("dedup.db");
    Place { directory, file }
}

impl Place {
    /// Nothing happens in it that the test did not ask for.
    pub fn config(&self) -> SqliteConfig {
        SqliteConfig::new(&self.file).with_sweep(Sweep::Manual)
    }

    pub fn store(&self) -> SqliteStore {
        self.config().open().unwrap()
    }

    /// A connection beside the store's.
    pub fn connection(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(&self.file).unwrap();
        conn.busy_timeout(Duration::from_secs(10)).unwrap();
        conn
    }
}

pub fn key(id: impl std::fmt::Display) -> Key {
    Scope::new("orders/charge").unwrap().key(id.to_string()).unwrap()
}

pub fn request(id: impl std::fmt::Display) -> ClaimRequest {
    ClaimRequest { key: key(id), token: Token::random(), lease: HOUR, window: HOUR, fingerprint: None }
}

pub async fn acquire(store: &SqliteStore, request: ClaimRequest) -> Lease {
    match store.claim_one(request).await.unwrap() {
        Claimed::Acquired(lease) => lease,
        other => panic!("not acquired: {other:?}"),
    }
}

pub async fn complete(store: &SqliteStore, lease: &Lease, window: Duration) {
    let done = Settle::Complete { window, outcome: None };
    assert_eq!(store.settle_one(Settlement::new(lease, done)).await.unwrap(), Settled::Yes);
}

/// What the runner would hand to a handler under that lease.
pub fn item<M>(lease: &Lease, message: M) -> Item<M> {
    Item { cx: Context::new(lease.clone(), CancellationToken::new()), message }
}

pub async fn is_done(store: &SqliteStore, id: impl std::fmt::Display) -> bool {
    matches!(store.claim_one(request(id)).await.unwrap(), Claimed::Done(_))
}
