//! What one writes by hand: a table of IDs, a transaction of its own for each claim and each completion.

use std::path::Path;

use ackonce_sqlite::rusqlite::Connection;
use anyhow::ensure;

use crate::messages::id;

pub(crate) struct ByHand {
    conn: Connection,
    next: u64,
}

impl ByHand {
    /// Opens it with IDs `0..remembered`, which are put there in order, all at once.
    pub(crate) fn with(path: &Path, remembered: u64) -> anyhow::Result<Self> {
        let mut conn = Connection::open(path)?;
        conn.execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;
             CREATE TABLE processed (id TEXT PRIMARY KEY, done INTEGER NOT NULL)",
        )?;
        let mut ids: Vec<String> = (0..remembered).map(id).collect();
        ids.sort_unstable();
        for part in ids.chunks(500_000) {
            let tx = conn.transaction()?;
            for id in part {
                tx.prepare_cached("INSERT INTO processed VALUES (?1, 1)")?.execute([id])?;
            }
            tx.commit()?;
        }
        conn.pragma_update_and_check(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
        conn.execute_batch("PRAGMA synchronous = FULL")?;
        Ok(Self { conn, next: remembered })
    }

    pub(crate) fn process(&mut self, count: u64) -> anyhow::Result<u64> {
        for n in self.next + 1..=self.next + count {
            let id = id(n);
            let claim = "INSERT INTO processed VALUES (?1, 0) ON CONFLICT (id) DO NOTHING";
            ensure!(self.conn.prepare_cached(claim)?.execute([&id])? == 1, "not a new ID");
            let done = "UPDATE processed SET done = 1 WHERE id = ?1";
            ensure!(self.conn.prepare_cached(done)?.execute([&id])? == 1, "its claim is gone");
        }
        self.next += count;
        Ok(count)
    }
}
