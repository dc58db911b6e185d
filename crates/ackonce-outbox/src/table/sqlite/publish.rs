//! Publishing in a transaction of the user's.

use std::ops::Deref;
use std::sync::Arc;

use ackonce::Result;
use ackonce_sqlite::rusqlite::{self, Savepoint, ToSql, Transaction};
use ackonce_sqlite::{InboxTx, SqliteStore, statement_failed};

use super::SqliteTable;
use super::rows::now;
use crate::{Outbox, Outgoing};

const INSERT: &str = "INSERT INTO ackonce_outbox (at, lane, message_id, destination, key, headers, payload) \
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// A transaction that messages can be published in.
pub trait PublishInto {
    /// Runs a statement that inserts a row.
    ///
    /// # Errors
    /// Those of SQLite.
    fn insert(&self, sql: &str, params: &[&dyn ToSql]) -> rusqlite::Result<usize>;
}

impl PublishInto for InboxTx<'_> {
    fn insert(&self, sql: &str, params: &[&dyn ToSql]) -> rusqlite::Result<usize> {
        self.prepare(sql)?.execute(params)
    }
}

macro_rules! publishes_into {
    ($($tx:ty),*) => {$(
        impl PublishInto for $tx {
            fn insert(&self, sql: &str, params: &[&dyn ToSql]) -> rusqlite::Result<usize> {
                self.prepare_cached(sql)?.execute(params)
            }
        }
    )*};
}
publishes_into!(Transaction<'_>, Savepoint<'_>);

/// An outbox in the file of a [`SqliteStore`]. Cloning is cheap.
///
/// ```
/// use ackonce::{Context, Failure};
/// use ackonce_outbox::{Outgoing, SqliteOutbox};
/// use ackonce_sqlite::{InboxTx, SqliteStore};
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// # let directory = tempfile::tempdir()?;
/// let store = SqliteStore::open(directory.path().join("app.db"))?;
/// let outbox = SqliteOutbox::open(&store).await?;
///
/// // A handler of class inbox: its effect, its record and the message are committed together, or not at all.
/// let handler = {
///     let outbox = outbox.clone();
///     store.inbox(move |tx: &InboxTx<'_>, _cx: &Context, order: &i64| {
///         tx.execute("INSERT INTO orders (id) VALUES (?1)", [order])?;
///         outbox.publish(tx, &Outgoing::new("orders", order.to_string()).with_key("7"))?;
///         Ok::<_, Failure>(())
///     })
/// };
/// let handler = outbox.waking(handler);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct SqliteOutbox(Outbox);

impl SqliteOutbox {
    /// The outbox in the store's file. Creates its tables unless they are there.
    ///
    /// # Errors
    /// [`NewerSchema`](ackonce::ErrorKind::NewerSchema) if a newer version made the tables, and those of a write.
    pub async fn open(store: &SqliteStore) -> Result<Self> {
        Ok(Self(Outbox::new(Arc::new(SqliteTable::open(store, true).await?))))
    }

    /// The outbox in the store's file, which must be there: for operators, who create none by a misspelt path.
    ///
    /// # Errors
    /// [`Config`](ackonce::ErrorKind::Config) if there is none, and those of [`open`](Self::open).
    pub async fn open_existing(store: &SqliteStore) -> Result<Self> {
        Ok(Self(Outbox::new(Arc::new(SqliteTable::open(store, false).await?))))
    }

    /// Publishes a message with the commit of this transaction: that of an inbox's handler, of one with a
    /// [`SqliteGuard`](ackonce_sqlite::SqliteGuard), or any other on the store's file. Returns the message ID.
    ///
    /// Call [`wake`](Outbox::wake) after the commit, or wrap the inbox in [`waking`](Outbox::waking): else the relay
    /// finds the message some milliseconds later.
    ///
    /// # Errors
    /// [`Invalid`](ackonce::ErrorKind::Invalid) for a message outside of its limits, and those of a write in SQLite: roll
    /// back.
    pub fn publish(&self, tx: &impl PublishInto, outgoing: &Outgoing) -> Result<String> {
        let row = outgoing.row()?;
        let params: [&dyn ToSql; 7] =
            [&now(), &row.lane, &row.message_id, &row.destination, &row.key, &row.headers, &row.payload];
        tx.insert(INSERT, &params).map_err(|e| statement_failed("publishing", e))?;
        Ok(row.message_id)
    }
}

impl Deref for SqliteOutbox {
    type Target = Outbox;

    fn deref(&self) -> &Outbox {
        &self.0
    }
}
