//! Faults of the store, and of the network before it.

use std::path::PathBuf;
use std::time::Duration;

use ackonce_postgres::tokio_postgres::{self, NoTls};
use ackonce_sqlite::rusqlite::Connection;
use ackonce_testkit::proxy::{Proxy, ProxyMode};
use ackonce_testkit::seed::Dice;
use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::disk::Disk;
use super::redis::Redis;
use super::tracer::{FailedFlushes, family};
use super::{FaultKind, losses, outage, pid_of, revive};

/// The longest that PostgreSQL takes to recover.
const RECOVERY: Duration = Duration::from_secs(60);

/// The kind of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoreKind {
    Sqlite,
    Redis,
    Postgres,
}

impl StoreKind {
    /// The name of its server in scripts/servers.
    pub(super) fn server(self) -> Option<&'static str> {
        match self {
            Self::Sqlite => None,
            Self::Redis => Some("redis"),
            Self::Postgres => Some("postgres"),
        }
    }
}

/// The store, and the ways to trouble it.
pub(crate) struct StoreFaults {
    pub(crate) kind: StoreKind,
    /// The file of SQLite.
    pub(crate) file: PathBuf,
    /// Its disk, if that may be full.
    pub(crate) disk: Option<Disk>,
    /// The server's own URL.
    pub(crate) url: String,
    /// Between the workers and the server; none for SQLite.
    pub(crate) proxy: Option<Proxy>,
}

impl StoreFaults {
    pub(super) async fn strike(&self, kind: FaultKind, dice: &mut Dice) -> Result<()> {
        let redis = Redis::of_url(&self.url);
        match (kind, self.kind) {
            (FaultKind::StoreLock, _) => self.lock(dice).await,
            (FaultKind::StoreRestore, _) => losses::restore(&self.file, dice).await,
            (FaultKind::StoreEviction, _) => losses::evict(&redis, dice).await,
            (FaultKind::StoreFailover, _) => losses::fail_over(&redis, dice).await,
            (FaultKind::StoreFsync, _) => self.fail_flushes(dice).await,
            (FaultKind::StoreScripts, _) => redis.tell(&["SCRIPT", "FLUSH"]).await,
            (FaultKind::StoreConnections, StoreKind::Redis) => {
                redis.tell(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await
            }
            (FaultKind::StoreConnections, _) => {
                let others = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                              WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
                self.tell_postgres(&[others]).await
            }
            (FaultKind::StoreFull, StoreKind::Redis) => {
                redis.tell(&["CONFIG", "SET", "maxmemory", "1"]).await?;
                moment(dice).await;
                redis.tell(&["CONFIG", "SET", "maxmemory", "0"]).await
            }
            (FaultKind::StoreFull, StoreKind::Postgres) => self.read_only(dice).await,
            (FaultKind::StoreFull, StoreKind::Sqlite) => match &self.disk {
                Some(disk) => disk.fill(&self.file, dice).await,
                None => anyhow::bail!("--faults store-full: there is no disk to fill"),
            },
            (FaultKind::StoreReply | FaultKind::StoreSilence | FaultKind::StoreLate, _) => {
                self.network(kind, dice).await;
                Ok(())
            }
            (_, store) => match store.server() {
                Some(server) => outage(kind, server, dice).await,
                None => Ok(()),
            },
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

    /// For the workers, which write the file of SQLite, or for the server and its processes. A server may end itself.
    async fn fail_flushes(&self, dice: &mut Dice) -> Result<()> {
        let server = self.kind.server();
        let pids = match server {
            Some(server) => family(pid_of(server)?),
            None => family(std::process::id()).split_off(1),
        };
        let failing = FailedFlushes::begin(&pids)?;
        moment(dice).await;
        failing.end().await?;
        match server {
            Some(server) => revive(server).await,
            None => Ok(()),
        }
    }

    /// As hosts set PostgreSQL when its disk is nearly full.
    async fn read_only(&self, dice: &mut Dice) -> Result<()> {
        let load = "SELECT pg_reload_conf()";
        self.tell_postgres(&["ALTER SYSTEM SET default_transaction_read_only = on", load]).await?;
        moment(dice).await;
        self.tell_postgres(&["ALTER SYSTEM RESET default_transaction_read_only", load]).await
    }

    async fn tell_postgres(&self, commands: &[&str]) -> Result<()> {
        // It may be in the recovery that follows a failed flush.
        let until = Instant::now() + RECOVERY;
        let (client, connection) = loop {
            match tokio_postgres::connect(&self.url, NoTls).await {
                Ok(connected) => break connected,
                Err(error) if Instant::now() >= until => return Err(error.into()),
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        let connection = tokio::spawn(connection);
        for command in commands {
            client.query(*command, &[]).await?;
        }
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

/// The length of a fault that ends by itself: up to three seconds.
async fn moment(dice: &mut Dice) {
    tokio::time::sleep(dice.between(&(Duration::from_millis(300)..=Duration::from_secs(3)))).await;
}
