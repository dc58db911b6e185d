//! The effect ledger of class inbox: the table `ledger` in the store's own database, with the columns of a
//! ledger file's lines.

pub mod postgres;
pub mod sqlite;

use std::path::PathBuf;

use ackonce_postgres::PostgresStore;
use ackonce_testkit::ledger::LedgerEntry;
use anyhow::Result;

use crate::stores::{Opened, Place, StoreUrl};

/// The stores whose database can have the table, as [`Table::of`] knows them; for messages.
pub const STORES: &str = "sqlite:PATH or postgres://";

/// The table `ledger` in one store's database.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Table {
    /// In the SQLite file at this path.
    Sqlite(PathBuf),
    /// In the database of this store, in the schema that an unqualified name means there: `public`, unless the
    /// URL's `options` or the role set another `search_path`.
    Postgres(PostgresStore),
}

impl Table {
    /// The table beside the records of a store; `None` for a store that has no inbox.
    #[must_use]
    pub fn of(url: &StoreUrl, store: &Opened) -> Option<Self> {
        match (url.place(), store) {
            (Place::Sqlite(url), Opened::Sqlite(_)) => Some(Self::Sqlite(url.path().to_owned())),
            (_, Opened::Postgres(store)) => Some(Self::Postgres(store.clone())),
            _ => None,
        }
    }

    /// Creates the table where it is missing.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses.
    pub async fn create(&self) -> Result<()> {
        match self {
            Self::Sqlite(path) => Ok(sqlite::create(path)?),
            Self::Postgres(store) => postgres::create(store).await,
        }
    }

    /// The number of the last row, 0 if there is none.
    ///
    /// # Errors
    /// The database cannot be reached, or has no such table.
    pub async fn last(&self) -> Result<i64> {
        match self {
            Self::Sqlite(path) => Ok(sqlite::last(path)?),
            Self::Postgres(store) => postgres::last(store).await,
        }
    }

    /// The rows after number `after`, in the order in which they were written.
    ///
    /// # Errors
    /// As [`last`](Self::last).
    pub async fn read(&self, after: i64) -> Result<Vec<LedgerEntry>> {
        match self {
            Self::Sqlite(path) => Ok(sqlite::read(path, after)?),
            Self::Postgres(store) => postgres::read(store, after).await,
        }
    }
}
