//! The stores of the killed processes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce_postgres::{PostgresConfig, PostgresStore, SchemaName, Sweep, Tables};
use ackonce_redis::RedisStore;
use ackonce_sqlite::SqliteStore;
use ackonce_testkit::servers;

const ADDRESS: &str = "ACKONCE_TEST_STORE";

/// A store: a file in the home of the run, or a server.
#[derive(Clone)]
pub(crate) enum Place {
    Sqlite,
    Redis(String),
    Postgres(String),
}

impl Place {
    pub(crate) fn sqlite() -> Option<Self> {
        Some(Self::Sqlite)
    }

    pub(crate) fn redis() -> Option<Self> {
        servers::address("ACKONCE_TEST_REDIS").map(Self::Redis)
    }

    pub(crate) fn postgres() -> Option<Self> {
        servers::address("ACKONCE_TEST_POSTGRES").map(Self::Postgres)
    }

    /// Tells a worker its store.
    pub(crate) fn tell(&self, worker: &mut Command) {
        let address = match self {
            Self::Sqlite => "",
            Self::Redis(url) | Self::Postgres(url) => url,
        };
        worker.env(ADDRESS, address);
    }

    pub(crate) fn from_env() -> Self {
        match std::env::var(ADDRESS).unwrap() {
            address if address.is_empty() => Self::Sqlite,
            address if address.starts_with("redis") => Self::Redis(address),
            address => Self::Postgres(address),
        }
    }

    pub(crate) fn file(home: &Path) -> SqliteStore {
        SqliteStore::open(home.join("store.db")).unwrap()
    }

    pub(crate) async fn store(&self, home: &Path) -> Arc<dyn Deduplicator> {
        match self {
            Self::Sqlite => Arc::new(Self::file(home)),
            Self::Redis(url) => Arc::new(RedisStore::connect(url).await.unwrap()),
            Self::Postgres(url) => Arc::new(Self::schema(url).await),
        }
    }

    pub(crate) async fn schema(url: &str) -> PostgresStore {
        let config = PostgresConfig::new(url).unwrap().with_schema(SchemaName::new("killed").unwrap());
        // The connections of killed workers live on for a while.
        let config = config.with_tables(Tables::CreateMissing).with_connections(2);
        config.with_sweep(Sweep::Manual).connect().await.unwrap()
    }
}
