//! The stores for a broker's messages, and the checks by hand over the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ackonce::{Deduplicator, MemoryStore};
use ackonce_postgres::{PostgresConfig, PostgresStore, Tables};
use ackonce_redis::RedisStore;
use ackonce_sqlite::SqliteStore;
use ackonce_sqlite::rusqlite::Connection;
use clap::{Args, ValueEnum};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::processed::Processed;

/// Makes the table of effects on PostgreSQL anew.
pub(crate) const EFFECT_TABLE: &str = "DROP TABLE IF EXISTS ackonce_bench_effect;
    CREATE TABLE ackonce_bench_effect (id BYTEA NOT NULL, amount BIGINT NOT NULL)";

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
    Redis,
    Postgres,
}

#[derive(Args)]
pub(crate) struct Stores {
    /// The stores to compare
    #[arg(long, value_delimiter = ',', default_value = "memory,sqlite,redis,postgres")]
    stores: Vec<Kind>,
    /// The Redis to compare with; without one it is left out
    #[arg(long, env = "ACKONCE_TEST_REDIS")]
    pub(crate) redis: Option<String>,
    /// The Postgres to compare with; without one it is left out. Tables named ackonce_bench_… are made anew in it
    #[arg(long, env = "ACKONCE_TEST_POSTGRES")]
    postgres: Option<String>,
    /// Directory for SQLite's files
    #[arg(long, default_value = ".")]
    pub(crate) directory: PathBuf,
}

/// One store, empty.
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) store: Arc<dyn Deduplicator>,
    pub(crate) by_hand: Option<Processed>,
    pub(crate) inbox: Option<Inbox>,
}

/// A store whose database has a table for effects.
#[derive(Clone)]
pub(crate) enum Inbox {
    Sqlite(SqliteStore),
    Postgres(PostgresStore),
}

impl Stores {
    /// Those that can be had. SQLite's files go with the folder.
    pub(crate) fn open(&self, runtime: &Runtime) -> anyhow::Result<(TempDir, Vec<Place>)> {
        let directory = tempfile::tempdir_in(&self.directory)?;
        let mut places = Vec::new();
        for kind in &self.stores {
            match (kind, &self.redis, &self.postgres) {
                (Kind::Memory, ..) => places.push(memory()),
                (Kind::Sqlite, ..) => places.push(sqlite(directory.path())?),
                (Kind::Redis, Some(url), _) => places.push(runtime.block_on(redis(url))?),
                (Kind::Postgres, _, Some(url)) => places.push(runtime.block_on(postgres(url))?),
                (Kind::Redis, None, _) => eprintln!("no Redis: left out (--redis URL)"),
                (Kind::Postgres, _, None) => eprintln!("no Postgres: left out (--postgres URL)"),
            }
        }
        Ok((directory, places))
    }
}

fn memory() -> Place {
    let store = Arc::new(MemoryStore::new());
    Place { kind: Kind::Memory, name: "in memory", store, by_hand: None, inbox: None }
}

fn sqlite(directory: &Path) -> anyhow::Result<Place> {
    let path = directory.join("ackonce.db");
    let store = SqliteStore::open(&path)?;
    Connection::open(&path)?
        .execute_batch("CREATE TABLE effect (id BLOB NOT NULL, amount INTEGER NOT NULL)")?;
    Ok(Place {
        kind: Kind::Sqlite,
        name: "SQLite",
        store: Arc::new(store.clone()),
        by_hand: Some(Processed::sqlite(&directory.join("by-hand.db"))?),
        inbox: Some(Inbox::Sqlite(store)),
    })
}

async fn redis(url: &str) -> anyhow::Result<Place> {
    Ok(Place {
        kind: Kind::Redis,
        name: "Redis",
        store: Arc::new(RedisStore::connect(url).await?),
        by_hand: Some(Processed::redis(url).await?),
        inbox: None,
    })
}

async fn postgres(url: &str) -> anyhow::Result<Place> {
    let store = PostgresConfig::new(url)?.with_tables(Tables::CreateMissing).connect().await?;
    let by_hand = Processed::postgres(url).await?;
    if let Processed::Postgres { client, .. } = &by_hand {
        client.batch_execute(EFFECT_TABLE).await?;
    }
    Ok(Place {
        kind: Kind::Postgres,
        name: "Postgres",
        store: Arc::new(store.clone()),
        by_hand: Some(by_hand),
        inbox: Some(Inbox::Postgres(store)),
    })
}
