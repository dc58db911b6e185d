//! The table in a SQLite file.

use std::path::Path;
use std::time::Duration;

use ackonce_sqlite::InboxTx;
use ackonce_sqlite::rusqlite::{self, Connection, OptionalExtension as _, ToSql, params_from_iter};
use ackonce_testkit::ledger::LedgerEntry;

const INSERT: &str = "INSERT INTO ledger (id, key, attempt, fence, pid, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";

const CREATE: &str = "CREATE TABLE IF NOT EXISTS ledger (id TEXT NOT NULL, key TEXT NOT NULL, \
    attempt INTEGER NOT NULL, fence INTEGER NOT NULL, pid INTEGER NOT NULL, at INTEGER NOT NULL) STRICT";

/// Creates the table in the database at `path` where it is missing.
///
/// # Errors
/// SQLite's error.
pub fn create(path: &Path) -> rusqlite::Result<()> {
    connect(path)?.execute_batch(CREATE)
}

/// Records an effect in the transaction of an inbox handler.
///
/// # Errors
/// SQLite's error.
pub fn insert(tx: &InboxTx<'_>, entry: &LedgerEntry) -> rusqlite::Result<()> {
    tx.prepare(INSERT)?.execute(values(entry)).map(drop)
}

fn values(entry: &LedgerEntry) -> impl rusqlite::Params {
    let values: [Box<dyn ToSql>; 6] = [
        Box::new(entry.id.clone()),
        Box::new(entry.key.clone()),
        Box::new(entry.attempt),
        Box::new(i64::try_from(entry.fence).unwrap_or(i64::MAX)),
        Box::new(entry.pid),
        Box::new(i64::try_from(entry.at).unwrap_or(i64::MAX)),
    ];
    params_from_iter(values)
}

/// The number of the last row in the database at `path`, 0 if there is none.
///
/// # Errors
/// SQLite's error.
pub fn last(path: &Path) -> rusqlite::Result<i64> {
    let sql = "SELECT rowid FROM ledger ORDER BY rowid DESC LIMIT 1";
    Ok(connect(path)?.query_row(sql, [], |row| row.get(0)).optional()?.unwrap_or(0))
}

/// The rows after number `after`, in the order in which they were committed.
///
/// # Errors
/// SQLite's error.
pub fn read(path: &Path, after: i64) -> rusqlite::Result<Vec<LedgerEntry>> {
    let conn = connect(path)?;
    let sql = "SELECT id, key, attempt, fence, pid, at FROM ledger WHERE rowid > ?1 ORDER BY rowid";
    let mut all = conn.prepare(sql)?;
    let entries = all.query_map([after], |row| {
        let (fence, at): (i64, i64) = (row.get(3)?, row.get(5)?);
        Ok(LedgerEntry {
            id: row.get(0)?,
            key: row.get(1)?,
            attempt: row.get(2)?,
            fence: u64::try_from(fence).unwrap_or(0),
            pid: row.get(4)?,
            at: u64::try_from(at).unwrap_or(0),
        })
    })?;
    entries.collect()
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(Duration::from_secs(10))?;
    Ok(conn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_went_in() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("app.db");
        create(&path).unwrap();
        create(&path).unwrap();
        let entry = |id: &str| LedgerEntry {
            id: id.to_owned(),
            key: "k".into(),
            attempt: 2,
            fence: 1_700_000_000_000_000,
            pid: 7,
            at: 1_700_000_000_000_001,
        };
        let conn = connect(&path).unwrap();
        assert_eq!(last(&path).unwrap(), 0);
        conn.execute(INSERT, values(&entry("a"))).unwrap();
        let before = last(&path).unwrap();
        conn.execute(INSERT, values(&entry("b"))).unwrap();
        assert_eq!(read(&path, 0).unwrap(), [entry("a"), entry("b")]);
        assert_eq!(read(&path, before).unwrap(), [entry("b")]);
    }
}
