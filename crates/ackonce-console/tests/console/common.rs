//! A console over a store with records, on a port of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{
    Attempt, ClaimRequest, Claimed, DeduplicatorExt as _, Inspect, Lease, Names, Settle, Settlement, Token,
};
use ackonce::{CancellationToken, Scope};
use ackonce_console::{Console, ConsoleOptions, Writes};
use ackonce_sqlite::{SqliteConfig, SqliteStore};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const DAY: Duration = Duration::from_secs(86_400);
pub const TOKEN: &str = "correct-horse-battery-staple";

/// A store that keeps all names.
pub struct Records {
    pub store: SqliteStore,
    _directory: TempDir,
}

impl Records {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = SqliteConfig::new(directory.path().join("dedup.db")).with_names(Names::Keep);
        Self { store: config.open().unwrap(), _directory: directory }
    }

    pub async fn claim(&self, scope: &str, id: &str) -> Lease {
        let request = ClaimRequest {
            key: Scope::new(scope).unwrap().key(id.to_owned()).unwrap(),
            token: Token::random(),
            lease: Duration::from_secs(600),
            window: DAY,
            fingerprint: None,
        };
        match self.store.claim_one(request).await.unwrap() {
            Claimed::Acquired(lease) => lease,
            other => panic!("{scope} {id}: {other:?}"),
        }
    }

    pub async fn done(&self, scope: &str, id: &str, outcome: Option<&str>) {
        let outcome = outcome.map(|outcome| outcome.as_bytes().to_vec().into());
        self.settle(scope, id, Settle::Complete { window: DAY, outcome }).await;
    }

    pub async fn buried(&self, scope: &str, id: &str, reason: &str) {
        self.settle(scope, id, Settle::Bury { window: DAY, reason: reason.to_owned() }).await;
    }

    pub async fn released(&self, scope: &str, id: &str) {
        let not_before = Duration::from_secs(300);
        self.settle(scope, id, Settle::Release { attempt: Attempt::Counts, window: DAY, not_before }).await;
    }

    async fn settle(&self, scope: &str, id: &str, settle: Settle) {
        let lease = self.claim(scope, id).await;
        self.store.settle_one(Settlement::new(&lease, settle)).await.unwrap();
    }

    /// One record of each state, and some more buried ones.
    pub async fn some() -> Self {
        let records = Self::new();
        records.claim("billing/charge", "evt_running").await;
        records.done("billing/charge", "evt_done", Some("{\"charged\": 1200}")).await;
        records.done("mail/send", "mail-1", None).await;
        records.released("billing/charge", "evt_waiting").await;
        for (id, reason) in [
            ("evt_buried", "the card was stolen"),
            ("evt_buried_2", "the card was stolen"),
            ("evt_buried_3", "unknown currency XXX"),
        ] {
            records.buried("billing/charge", id, reason).await;
        }
        records
    }
}

/// A console that listens.
pub struct Served {
    pub address: SocketAddr,
    pub stop: CancellationToken,
    pub server: JoinHandle<()>,
}

pub fn writing() -> ConsoleOptions {
    let mut options = ConsoleOptions::default();
    options.writes = Writes::Allowed;
    options
}

pub async fn serve(store: Arc<dyn Inspect>, options: ConsoleOptions) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let console = Console::start(store, options, stop.clone());
    let serving =
        axum::serve(listener, console.router()).with_graceful_shutdown(stop.clone().cancelled_owned());
    Served { address, stop, server: tokio::spawn(async move { serving.await.unwrap() }) }
}
