//! The SQLite store, and a table of IDs by hand.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Inspect;
use ackonce_sqlite::rusqlite::{self, Connection, TransactionBehavior};
use ackonce_sqlite::{Entered, GuardOptions, SqliteGuard, SqliteStore};
use anyhow::bail;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::Bench;
use super::fill::Filled;
use super::subject::{ByHand, Subject};
use crate::harness::{Arm, compare};

pub(super) struct Sqlite(TempDir);

impl Sqlite {
    pub(super) fn new(directory: &Path) -> anyhow::Result<Self> {
        Ok(Self(tempfile::tempdir_in(directory)?))
    }
}

impl Subject for Sqlite {
    fn name(&self) -> &'static str {
        "SQLite"
    }

    fn settings(&mut self) -> anyhow::Result<Value> {
        Ok(json!({
            "SQLite": rusqlite::version(),
            "ackonce-sqlite": env!("CARGO_PKG_VERSION"),
            "cores": std::thread::available_parallelism()?.get(),
            "synchronous": "FULL",
        }))
    }

    fn open(&mut self, name: &str) -> anyhow::Result<Arc<dyn Inspect>> {
        Ok(Arc::new(SqliteStore::open(self.0.path().join(format!("{name}.db")))?))
    }

    /// It has one writer.
    fn loaders(&self) -> u64 {
        1
    }

    /// Of the files, after their logs were carried over.
    fn bytes(&mut self) -> anyhow::Result<u64> {
        let mut bytes = 0;
        for file in std::fs::read_dir(self.0.path())? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "db") {
                let conn = Connection::open(&file)?;
                conn.busy_timeout(Duration::from_secs(10))?;
                conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
                bytes += std::fs::metadata(&file)?.len();
            }
        }
        Ok(bytes)
    }

    fn by_hand(&mut self) -> anyhow::Result<Option<Box<dyn ByHand>>> {
        let conn = Connection::open(self.0.path().join("by-hand.db"))?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -65536;
             CREATE TABLE processed (id TEXT PRIMARY KEY, done INTEGER NOT NULL)",
        )?;
        Ok(Some(Box::new(Table(conn))))
    }

    /// Transactions of one's own: claim, completion and one flush each.
    fn more(&mut self, bench: &Bench<'_>, filled: &mut [Filled]) -> anyhow::Result<()> {
        const COUNT: usize = 500;
        let mut arms = Vec::new();
        for Filled { remembered, messages, .. } in filled {
            let mut conn = Connection::open(self.0.path().join(format!("{remembered}.db")))?;
            conn.busy_timeout(Duration::from_secs(10))?;
            arms.push(Arm::new(format!("{remembered} remembered"), move || {
                for claim in messages.claims(COUNT)? {
                    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
                    let entry = SqliteGuard::enter(&tx, &claim.key, &GuardOptions::default())?;
                    let Entered::First(guard) = entry else { bail!("not a new ID: {entry:?}") };
                    guard.finish(&tx)?;
                    tx.commit()?;
                }
                Ok(COUNT as u64)
            }));
        }
        compare("SQLite: guards in transactions of one's own", bench.options.rounds, arms)
    }
}

/// A transaction for each trip.
struct Table(Connection);

impl Table {
    fn each(&mut self, sql: &str, ids: &[String]) -> anyhow::Result<usize> {
        let tx = self.0.transaction()?;
        let mut changed = 0;
        for id in ids {
            changed += tx.prepare_cached(sql)?.execute([id])?;
        }
        tx.commit()?;
        Ok(changed)
    }
}

impl ByHand for Table {
    fn claim(&mut self, ids: &[String]) -> anyhow::Result<usize> {
        self.each("INSERT INTO processed VALUES (?1, 0) ON CONFLICT (id) DO NOTHING", ids)
    }

    fn done(&mut self, ids: &[String]) -> anyhow::Result<()> {
        self.each("UPDATE processed SET done = 1 WHERE id = ?1", ids).map(drop)
    }
}
