//! The outbox in a SQLite file.

mod publish;
mod reader;
mod rows;
mod writes;

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Note;
use ackonce::{Deduplicator, Error, ErrorKind, Result};
use ackonce_sqlite::SqliteStore;
use ackonce_sqlite::rusqlite::OptionalExtension;
use async_trait::async_trait;

pub use self::publish::{PublishInto, SqliteOutbox};

use self::reader::ReadThread;
use super::{OutboxTable, Parked, Presence, Row, ToPark, Wanted};
use crate::OutboxLag;

const TABLES: &str = include_str!("schema.sql");
/// The version of the tables that this code writes and reads.
const VERSION: i64 = 1;

/// The tables in the file of a store. SQLite has one writer at a time, so numbers of rows are in the order of commits, and
/// deleted rows leave pages that the next ones take: nothing has to be rotated.
#[derive(Debug)]
pub(super) struct SqliteTable {
    store: SqliteStore,
    reader: ReadThread,
}

impl SqliteTable {
    pub(super) async fn open(store: &SqliteStore, creates: bool) -> Result<Self> {
        let version: Option<i64> = store
            .write(move |tx| {
                if creates {
                    tx.execute_batch(TABLES)?;
                }
                let version = "SELECT value FROM main.ackonce_meta WHERE name = 'outbox'";
                tx.query_row(version, [], |row| row.get(0)).optional()
            })
            .await?;
        match version {
            Some(VERSION) => {}
            Some(version) => {
                let message = format!(
                    "outbox: the tables in the file are of version {version}, known is {VERSION}; upgrade ackonce-outbox"
                );
                return Err(Error::new(ErrorKind::NewerSchema, message));
            }
            None => {
                return Err(Error::new(
                    ErrorKind::Config,
                    "outbox: there is none in the file; mend its path",
                ));
            }
        }
        Ok(Self { store: store.clone(), reader: ReadThread::start(store.clone())? })
    }

    /// A write that fails may mean that the file was replaced under the reader.
    fn checked<T>(&self, written: Result<T>) -> Result<T> {
        written.inspect_err(|_| self.reader.reopen())
    }

    async fn unpark(&self, rows: Vec<i64>, operation: &'static str, keep: bool, note: Note) -> Result<u64> {
        self.checked(self.store.write(move |tx| writes::unpark(tx, &rows, operation, keep, &note)).await)
    }
}

#[async_trait]
impl OutboxTable for SqliteTable {
    fn store(&self) -> Arc<dyn Deduplicator> {
        Arc::new(self.store.clone())
    }

    async fn read(&self, wanted: Wanted) -> Result<Vec<Row>> {
        self.reader.read("reading the outbox", move |conn| rows::read(conn, &wanted)).await
    }

    async fn remove(&self, rows: Vec<i64>) -> Result<()> {
        self.checked(self.store.write(move |tx| writes::remove(tx, &rows)).await)
    }

    async fn park(&self, rows: Vec<ToPark>) -> Result<()> {
        self.checked(self.store.write(move |tx| writes::park(tx, &rows)).await)
    }

    async fn parked(&self, from: i64, most: usize) -> Result<Vec<Parked>> {
        self.reader.read("listing parked rows", move |conn| rows::parked(conn, from, most)).await
    }

    async fn redrive(&self, rows: Vec<i64>, note: Note) -> Result<u64> {
        self.unpark(rows, "redrive", true, note).await
    }

    async fn discard(&self, rows: Vec<i64>, note: Note) -> Result<u64> {
        self.unpark(rows, "discard", false, note).await
    }

    async fn lag(&self) -> Result<OutboxLag> {
        self.reader.read("reading the lag", rows::lag).await
    }

    async fn announce(&self, relay: [u8; 16], lease: Duration) -> Result<Presence> {
        let lease = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
        let others = self.checked(self.store.write(move |tx| writes::announce(tx, relay, lease)).await)?;
        Ok(Presence { relays: usize::try_from(others).unwrap_or(0) + 1, lag: self.lag().await? })
    }

    async fn leave(&self, relay: [u8; 16]) -> Result<()> {
        let text = "DELETE FROM ackonce_outbox_relay WHERE relay = ?1";
        self.checked(self.store.write(move |tx| tx.execute(text, [relay]).map(drop)).await)
    }

    async fn upkeep(&self) -> Result<()> {
        Ok(())
    }

    async fn changed(&self) {
        self.reader.watch();
        self.reader.heard.notified().await;
    }

    fn wake(&self) {
        self.reader.heard.notify_one();
    }
}
