//! Helpers of the tests.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Lease, Settle, Settled, Settlement, Token};
use ackonce::{CancellationToken, Context, Deduplicator, Item, Key, Scope};
use ackonce_sqlite::{SqliteConfig, SqliteStore, Sweep};
use sha2::{Digest, Sha256};
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

    /// The key of the message's record in the file.
    pub fn record_key(&self, id: impl std::fmt::Display) -> Vec<u8> {
        let sql = "SELECT value FROM ackonce_meta WHERE name = 'secret'";
        let secret: Vec<u8> = self.connection().query_row(sql, [], |r| r.get(0)).unwrap();
        Sha256::new_with_prefix(secret).chain_update(key(id).digest()).finalize()[..16].to_vec()
    }

    /// Tables of settled records.
    pub fn generations(&self) -> Vec<String> {
        let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'ackonce_[bf]*_[0-9]*'";
        let conn = self.connection();
        let mut statement = conn.prepare(sql).unwrap();
        statement.query_map([], |r| r.get(0)).unwrap().map(Result::unwrap).collect()
    }

    /// Records in all tables.
    pub fn rows(&self) -> i64 {
        let conn = self.connection();
        let count = |table: &String| -> Option<i64> {
            // A generation may be dropped meanwhile.
            conn.query_row(&format!("SELECT count(*) FROM {table}"), [], |r| r.get(0)).ok()
        };
        count(&"ackonce_claims".into()).unwrap() + self.generations().iter().filter_map(count).sum::<i64>()
    }

    /// A connection beside the store's.
    pub fn connection(&self) -> rusqlite::Connection {
        let conn = rusqlite::Connection::open(&self.file).unwrap();
        conn.busy_timeout(Duration::from_secs(10)).unwrap();
        conn
    }
}

/// A clock that moves when it is told to.
#[derive(Clone)]
pub struct TestClock(Arc<AtomicU64>);

impl TestClock {
    pub fn new() -> Self {
        Self(Arc::new(AtomicU64::new(1_800_000_000_000_000)))
    }

    pub fn advance(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub fn set_back(&self, time: Duration) {
        self.0.fetch_sub(u64::try_from(time.as_micros()).unwrap(), Ordering::SeqCst);
    }

    pub fn set(&self, micros: u64) {
        self.0.store(micros, Ordering::SeqCst);
    }

    pub fn micros(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    pub fn of(&self, config: SqliteConfig) -> SqliteConfig {
        let clock = self.clone();
        config.with_clock(move || SystemTime::UNIX_EPOCH + Duration::from_micros(clock.micros()))
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

/// Claims and completes those.
pub async fn fill(store: &SqliteStore, ids: std::ops::Range<u32>, window: Duration) {
    let requests: Vec<_> = ids.map(request).collect();
    let settlements: Vec<_> = store
        .claim(&requests)
        .await
        .unwrap()
        .into_iter()
        .map(|answer| match answer {
            Claimed::Acquired(lease) => Settlement::new(&lease, Settle::Complete { window, outcome: None }),
            other => panic!("{other:?}"),
        })
        .collect();
    store.settle(&settlements).await.unwrap();
}

pub async fn complete(store: &SqliteStore, lease: &Lease, window: Duration) {
    let done = Settle::Complete { window, outcome: None };
    assert_eq!(store.settle_one(Settlement::new(lease, done)).await.unwrap(), Settled::Yes);
}

/// The item that a runner hands to a handler under that lease.
pub fn item<M>(lease: &Lease, message: M) -> Item<M> {
    Item { cx: Context::new(lease.clone(), CancellationToken::new()), message }
}

pub async fn is_done(store: &SqliteStore, id: impl std::fmt::Display) -> bool {
    matches!(store.claim_one(request(id)).await.unwrap(), Claimed::Done(_))
}

/// Past the capture of a test's output, so that it is seen although the test passes.
pub fn say(text: &str) {
    let mut seen = io::stderr().lock();
    seen.write_all(format!("\n{text}\n").as_bytes()).unwrap();
}
