//! Faults of the store, and of the network before it.

use std::path::PathBuf;
use std::time::Duration;

use ackonce_postgres::tokio_postgres::{self, NoTls};
use ackonce_sqlite::rusqlite::Connection;
use ackonce_testkit::proxy::{Proxy, ProxyMode};
use ackonce_testkit::seed::Dice;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncWriteExt as _;

use super::{FaultKind, outage};

/// The kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoreKind {
    Sqlite,
    Redis,
    Postgres,
}

/// The store, and the ways to trouble it.
pub(crate) struct StoreFaults {
    pub(crate) kind: StoreKind,
    /// The file of SQLite.
    pub(crate) file: PathBuf,
    /// The server's own URL.
    pub(crate) url: String,
    /// Between the workers and the server; none for SQLite.
    pub(crate) proxy: Option<Proxy>,
}

impl StoreFaults {
    pub(super) async fn strike(&self, kind: FaultKind, dice: &mut Dice) -> Result<()> {
        match (kind, self.kind) {
            (FaultKind::StoreLock, _) => self.lock(dice).await,
            (FaultKind::StoreScripts, _) => self.tell_redis("SCRIPT FLUSH\r\n").await,
            (FaultKind::StoreConnections, StoreKind::Redis) => {
                self.tell_redis("CLIENT KILL TYPE normal SKIPME yes\r\n").await
            }
            (FaultKind::StoreConnections, _) => self.terminate_backends().await,
            (FaultKind::StoreReply | FaultKind::StoreSilence | FaultKind::StoreLate, _) => {
                self.network(kind, dice).await;
                Ok(())
            }
            (_, StoreKind::Redis) => outage(kind, "redis", dice).await,
            (_, StoreKind::Postgres) => outage(kind, "postgres", dice).await,
            (_, StoreKind::Sqlite) => Ok(()),
        }
    }

    /// Holds the write lock of the file, as a backup or another program would.
    async fn lock(&self, dice: &mut Dice) -> Result<()> {
        let db = Connection::open(&self.file)?;
        db.busy_timeout(Duration::from_secs(5))?;
        if db.execute_batch("BEGIN IMMEDIATE").is_err() {
            // A worker that is stopped in its transaction has the lock: the fault is there already.
            return Ok(());
        }
        tokio::time::sleep(dice.between(&(Duration::from_millis(100)..=Duration::from_millis(1500)))).await;
        Ok(db.execute_batch("ROLLBACK")?)
    }

    async fn tell_redis(&self, command: &str) -> Result<()> {
        let server = self.url.trim_start_matches("redis://").trim_end_matches('/');
        let mut server = tokio::net::TcpStream::connect(server).await?;
        server.write_all(command.as_bytes()).await?;
        // Its answer does not matter, but the connection has to outlive the command.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }

    async fn terminate_backends(&self) -> Result<()> {
        let (client, connection) = tokio_postgres::connect(&self.url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                      WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
        client.query_one(others, &[]).await?;
        drop(client);
        Ok(connection.await??)
    }

    async fn network(&self, kind: FaultKind, dice: &mut Dice) {
        let Some(proxy) = &self.proxy else { return };
        let nth = u32::try_from(1 + dice.below(20)).unwrap_or(1);
        let long = dice.between(&(Duration::from_millis(300)..=Duration::from_secs(2)));
        match (kind, dice.below(2)) {
            (FaultKind::StoreReply, 0) => proxy.set_replies(ProxyMode::Cut { nth }),
            (FaultKind::StoreReply, _) => proxy.set_replies(ProxyMode::Reset { nth }),
            (FaultKind::StoreSilence, 0) => proxy.set_requests(ProxyMode::Blackhole),
            (FaultKind::StoreSilence, _) => proxy.set_replies(ProxyMode::Blackhole),
            (_, 0) => proxy.set_requests(ProxyMode::Hold),
            (_, _) => proxy.set_replies(ProxyMode::Hold),
        }
        tokio::time::sleep(long).await;
        proxy.set(ProxyMode::Pass);
    }
}
