//! The memory of a loop by hand. No lease, no fence, no attempts: two trips per message.

use std::path::Path;

use ackonce_postgres::tokio_postgres::{Client, NoTls, Statement};
use ackonce_sqlite::rusqlite::Connection;
use redis::aio::MultiplexedConnection;

/// The time that Redis remembers an ID.
const WINDOW_MS: u64 = 3_600_000;

pub(crate) enum Processed {
    Sqlite(Connection),
    Redis(MultiplexedConnection),
    Postgres { client: Client, claim: Statement, done: Statement },
}

impl Processed {
    pub(crate) fn sqlite(path: &Path) -> anyhow::Result<Self> {
        let connection = Connection::open(path)?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE processed (id TEXT PRIMARY KEY, done INTEGER NOT NULL)",
        )?;
        Ok(Self::Sqlite(connection))
    }

    pub(crate) async fn redis(url: &str) -> anyhow::Result<Self> {
        Ok(Self::Redis(redis::Client::open(url)?.get_multiplexed_async_connection().await?))
    }

    pub(crate) async fn postgres(url: &str) -> anyhow::Result<Self> {
        let (client, connection) = ackonce_postgres::tokio_postgres::connect(url, NoTls).await?;
        tokio::spawn(connection);
        client
            .batch_execute(
                "DROP TABLE IF EXISTS ackonce_bench_processed;
                 CREATE TABLE ackonce_bench_processed (id TEXT PRIMARY KEY, done BOOLEAN NOT NULL)",
            )
            .await?;
        let claim = client
            .prepare("INSERT INTO ackonce_bench_processed VALUES ($1, false) ON CONFLICT (id) DO NOTHING")
            .await?;
        let done = client.prepare("UPDATE ackonce_bench_processed SET done = true WHERE id = $1").await?;
        Ok(Self::Postgres { client, claim, done })
    }

    /// True if it was new.
    pub(crate) async fn claim(&mut self, id: &str) -> anyhow::Result<bool> {
        Ok(match self {
            Self::Sqlite(connection) => {
                let sql = "INSERT INTO processed VALUES (?1, 0) ON CONFLICT (id) DO NOTHING";
                connection.prepare_cached(sql)?.execute([id])? == 1
            }
            Self::Redis(connection) => {
                let mut set = redis::cmd("SET");
                let set = set.arg(id).arg("1").arg("NX").arg("PX").arg(WINDOW_MS);
                set.query_async::<Option<String>>(connection).await?.is_some()
            }
            Self::Postgres { client, claim, .. } => client.execute(claim, &[&id]).await? == 1,
        })
    }

    pub(crate) async fn done(&mut self, id: &str) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(connection) => {
                connection.prepare_cached("UPDATE processed SET done = 1 WHERE id = ?1")?.execute([id])?;
            }
            Self::Redis(connection) => {
                let mut set = redis::cmd("SET");
                set.arg(id).arg("2").arg("PX").arg(WINDOW_MS).query_async::<()>(connection).await?;
            }
            Self::Postgres { client, done, .. } => {
                client.execute(done, &[&id]).await?;
            }
        }
        Ok(())
    }
}
