//! The records of a file: their layout in tables, and the reads and writes of one transaction.
//!
//! A record is in `ackonce_claims` until it is settled, then in a generation. A key has one record at most across all
//! tables: a move deletes it from one table and inserts it into another in one transaction.

pub(crate) mod columns;
pub(crate) mod cursor;
mod filter;
pub(crate) mod generation;
pub(crate) mod generations;
pub(crate) mod key;
pub(crate) mod lookup;
mod rotation;
mod statements;
mod sweep;
pub(crate) mod write;

use std::cell::RefCell;

use ackonce::store::Names;
use ackonce::{Key, Result};
use rusqlite::Connection;

use crate::error::{breaks_connection, rolled_back};
use crate::schema;
use generations::{FilterSource, Generations};
use key::{RecordKey, Secret};

/// The settings for writing records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RecordSettings {
    pub(crate) names: Names,
    /// The maximum number of records in a generation.
    pub(crate) generation_size: u32,
}

/// The parts of the file that a connection keeps in memory: secret, list of generations and filters. They are derived
/// from one incarnation of the file, which each transaction compares.
#[derive(Debug)]
pub(crate) struct FileCache {
    secret: Option<Secret>,
    generations: Generations,
}

impl FileCache {
    pub(crate) fn empty(filters: FilterSource) -> RefCell<Self> {
        RefCell::new(Self { secret: None, generations: Generations::new(filters) })
    }

    /// Reads the file again if its incarnation is not the one that this cache was derived from: another process
    /// changed the file, a backup was restored, the tables were made anew, or a transaction was undone.
    fn refresh(&mut self, conn: &Connection) -> Result<Secret> {
        let incarnation = schema::incarnation(conn)?;
        match &self.secret {
            Some(secret) if self.generations.is_current(&incarnation) => Ok(secret.clone()),
            _ => {
                let secret = Secret::read(conn)?;
                self.generations.read(conn, incarnation)?;
                Ok(self.secret.insert(secret).clone())
            }
        }
    }
}

/// The records of a file, in one transaction.
pub(crate) struct Records<'c> {
    pub(crate) conn: &'c Connection,
    cache: &'c RefCell<FileCache>,
    secret: Secret,
    pub(crate) settings: RecordSettings,
}

impl<'c> Records<'c> {
    /// The records as the present transaction sees them. The cache is compared with the file, and read again if other
    /// transactions have changed it.
    pub(crate) fn new(
        conn: &'c Connection,
        cache: &'c RefCell<FileCache>,
        settings: RecordSettings,
    ) -> Result<Self> {
        let secret = cache.borrow_mut().refresh(conn)?;
        Ok(Self { conn, cache, secret, settings })
    }

    /// Runs `work` in a savepoint: if it fails, none of its changes are committed with the others of this
    /// transaction.
    ///
    /// # Errors
    /// The errors of `work`. If the transaction has ended by then, or may be half undone, the connection is not used
    /// again after the error, or [`has_ended`](Self::has_ended) is true.
    pub(crate) fn in_savepoint<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let run = |sql: &str| {
            self.conn
                .prepare_cached(sql)
                .and_then(|mut s| s.execute([]).map(drop))
                .map_err(|e| rolled_back("a savepoint", e))
        };
        run("SAVEPOINT ackonce_records")?;
        match work() {
            Ok(done) => run("RELEASE ackonce_records").map(|()| done),
            // There is no savepoint left to go back to.
            Err(error) if self.has_ended() || breaks_connection(&error) => Err(error),
            Err(error) => {
                run("ROLLBACK TO ackonce_records")?;
                run("RELEASE ackonce_records")?;
                self.cache.borrow_mut().refresh(self.conn)?;
                Err(error)
            }
        }
    }

    /// True once SQLite has rolled the transaction back by itself: the next statement would commit alone.
    pub(crate) fn has_ended(&self) -> bool {
        self.conn.is_autocommit()
    }

    pub(crate) fn record_key(&self, key: &Key) -> RecordKey {
        self.secret.record_key(key.digest())
    }

    /// Passes the list of generations to a closure, which must not call back into `self`.
    pub(crate) fn generations<T>(
        &self,
        ask: impl FnOnce(&Connection, &mut Generations) -> Result<T>,
    ) -> Result<T> {
        ask(self.conn, &mut self.cache.borrow_mut().generations)
    }
}
