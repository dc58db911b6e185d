//! Stores that forget: losses that no protocol can make good, and that a run measures.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ackonce_testkit::seed::Dice;
use anyhow::{Context as _, Result};

use super::redis::Redis;

/// Copies a database into another one, which may be open elsewhere, as `.backup` and `.restore` of the sqlite3 shell do.
const COPY: &str = "import sqlite3, sys
a, b = (sqlite3.connect(path, timeout=60) for path in sys.argv[1:3])
a.backup(b)";

/// The file loses one to three seconds: a backup is taken, and restored.
pub(super) async fn restore(file: &Path, dice: &mut Dice) -> Result<()> {
    let backup = file.with_extension("backup");
    copy(file, &backup).await?;
    tokio::time::sleep(dice.between(&(Duration::from_secs(1)..=Duration::from_secs(3)))).await;
    copy(&backup, file).await?;
    Ok(std::fs::remove_file(backup)?)
}

async fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut python = Command::new("python3");
    python.args(["-c", COPY]).args([from, to]).stdin(Stdio::null());
    let copied = tokio::task::spawn_blocking(move || python.status()).await?;
    let copied = copied.context("--faults store-restore needs python3")?;
    anyhow::ensure!(copied.success(), "the database could not be copied: {copied}");
    Ok(())
}

/// Redis evicts as much as it has to for 97 % of the memory that it uses now.
pub(super) async fn evict(server: &Redis, dice: &mut Dice) -> Result<()> {
    let used: u64 = server.info("used_memory").await?.parse()?;
    server
        .tell(&[
            "CONFIG",
            "SET",
            "maxmemory-policy",
            "allkeys-random",
            "maxmemory",
            &(used * 97 / 100).to_string(),
        ])
        .await?;
    tokio::time::sleep(dice.between(&(Duration::from_millis(300)..=Duration::from_secs(2)))).await;
    server.tell(&["CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0"]).await?;
    Ok(())
}

/// A replica that lags becomes primary: the writes of up to a second are gone. The address stays, as behind a name that is
/// moved: the server takes over the data of a replica that has stopped to follow.
pub(super) async fn fail_over(server: &Redis, dice: &mut Dice) -> Result<()> {
    let replica = Replica::start().await?;
    let (host, port) = server.host_and_port()?;
    replica.server.tell(&["REPLICAOF", host, port]).await?;
    replica.server.wait_for("master_link_status", "up").await?;
    replica.server.tell(&["REPLICAOF", "NO", "ONE"]).await?;
    tokio::time::sleep(dice.between(&(Duration::from_millis(100)..=Duration::from_secs(1)))).await;
    let (host, port) = replica.server.host_and_port()?;
    server.tell(&["REPLICAOF", host, port]).await?;
    server.wait_for("master_link_status", "up").await?;
    server.tell(&["REPLICAOF", "NO", "ONE"]).await
}

/// A second Redis, which ends when dropped.
struct Replica {
    child: Child,
    server: Redis,
}

impl Replica {
    async fn start() -> Result<Self> {
        // Free for a moment at least.
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port().to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port", &port]);
        // The snapshot that it is served does not stay behind.
        command.args(["--rdb-del-sync-files", "yes"]).current_dir(std::env::temp_dir());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("--faults store-failover: redis-server cannot be started")?;
        let replica = Self { child, server: Redis::new(format!("127.0.0.1:{port}")) };
        replica.server.wait_for("role", "master").await?;
        Ok(replica)
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
