//! Publishing in a transaction of the user's.

use std::ops::Deref;
use std::sync::Arc;

use ackonce::{Error, ErrorKind, Result};
use ackonce_postgres::tokio_postgres::types::{ToSql, Type};
use ackonce_postgres::tokio_postgres::{GenericClient, Transaction};
use ackonce_postgres::{PostgresStore, SchemaName, statement_undone};

use super::PostgresTable;
use super::texts::{Texts, fill};
use crate::{Outbox, Outgoing, OutgoingRow};

/// An outbox in the database of a [`PostgresStore`]. Cloning is cheap.
///
/// ```no_run
/// use ackonce_outbox::{Outgoing, PostgresOutbox};
/// use ackonce_postgres::PostgresStore;
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// let outbox = PostgresOutbox::open(&store).await?;
///
/// let mut client = store.pool(1)?.get().await?;
/// let tx = client.transaction().await?;
/// tx.execute("INSERT INTO orders (id) VALUES ($1)", &[&7_i64]).await?;
/// outbox.publish(&tx, &Outgoing::new("orders", r#"{"id": 7}"#).with_key("7")).await?;
/// tx.commit().await?;
/// outbox.wake();
/// # Ok(()) }
/// ```
///
/// Order: rows of one key and destination go out in the order of their inserts. Transactions that publish for one key at
/// once, and do not wait for each other by a lock of theirs before they publish, have no order.
#[derive(Debug, Clone)]
pub struct PostgresOutbox {
    outbox: Outbox,
    pub(super) texts: Arc<Texts>,
}

impl PostgresOutbox {
    /// The outbox in the store's schema. Creates its tables unless they are there, which takes the privilege `CREATE` on
    /// the schema; a role without it needs the output of [`schema_sql`](Self::schema_sql) run first.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the role lacks a privilege, [`NewerSchema`](ErrorKind::NewerSchema) if a newer
    /// version made the tables, and those of a connection.
    pub async fn open(store: &PostgresStore) -> Result<Self> {
        let table = PostgresTable::new(store)?;
        table.create().await?;
        Ok(Self::of(table, store))
    }

    /// The outbox in the store's schema, which must be there: for operators, who create none by a misspelt name.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if there is none, and those of [`open`](Self::open).
    pub async fn open_existing(store: &PostgresStore) -> Result<Self> {
        let table = PostgresTable::new(store)?;
        table.find().await?;
        Ok(Self::of(table, store))
    }

    fn of(table: PostgresTable, store: &PostgresStore) -> Self {
        Self { outbox: Outbox::new(Arc::new(table)), texts: Arc::new(Texts::new(store.schema())) }
    }

    /// All SQL that creates the tables in a schema that has a store's, to be run by hand.
    #[must_use]
    pub fn schema_sql(schema: &SchemaName) -> String {
        format!("BEGIN;\n\n{}\nCOMMIT;\n", fill(super::TABLES, schema))
    }

    /// Publishes a message with the commit of this transaction: that of an inbox's handler, of one with a
    /// [`PostgresGuard`](ackonce_postgres::PostgresGuard), or any other in the store's database. Returns the message ID.
    ///
    /// Call [`wake`](Outbox::wake) after the commit, or wrap the inbox in [`waking`](Outbox::waking): else the relay
    /// finds the message at its next poll.
    ///
    /// # Errors
    /// [`Invalid`](ErrorKind::Invalid) for a message outside of its limits, and those of a statement: roll back.
    pub async fn publish(&self, tx: &Transaction<'_>, outgoing: &Outgoing) -> Result<String> {
        let row = outgoing.row()?;
        let params: [(&(dyn ToSql + Sync), Type); 6] = [
            (&row.lane, Type::INT8),
            (&row.message_id, Type::TEXT),
            (&row.destination, Type::TEXT),
            (&row.key, Type::BYTEA),
            (&row.headers, Type::BYTEA),
            (&row.payload, Type::BYTEA),
        ];
        let published = GenericClient::execute_typed(tx, &self.texts.insert, &params).await;
        inserted(published.map_err(|e| statement_undone("publishing", e))?, 1)?;
        Ok(row.message_id)
    }

    /// Publishes messages in order, by one statement. Returns the message IDs.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); none is published then.
    pub async fn publish_all(&self, tx: &Transaction<'_>, outgoing: &[Outgoing]) -> Result<Vec<String>> {
        let rows = outgoing.iter().map(Outgoing::row).collect::<Result<Vec<OutgoingRow>>>()?;
        let lanes: Vec<i64> = rows.iter().map(|row| row.lane).collect();
        let ids: Vec<&str> = rows.iter().map(|row| &*row.message_id).collect();
        let destinations: Vec<&str> = rows.iter().map(|row| &*row.destination).collect();
        let keys: Vec<Option<&[u8]>> = rows.iter().map(|row| row.key.as_deref()).collect();
        let headers: Vec<&[u8]> = rows.iter().map(|row| &*row.headers).collect();
        let payloads: Vec<&[u8]> = rows.iter().map(|row| &*row.payload).collect();
        let params: [(&(dyn ToSql + Sync), Type); 6] = [
            (&lanes, Type::INT8_ARRAY),
            (&ids, Type::TEXT_ARRAY),
            (&destinations, Type::TEXT_ARRAY),
            (&keys, Type::BYTEA_ARRAY),
            (&headers, Type::BYTEA_ARRAY),
            (&payloads, Type::BYTEA_ARRAY),
        ];
        let published = GenericClient::execute_typed(tx, &self.texts.insert_all, &params).await;
        inserted(published.map_err(|e| statement_undone("publishing", e))?, rows.len())?;
        Ok(rows.into_iter().map(|row| row.message_id).collect())
    }

    /// The statement of [`publish`](Self::publish), for a driver without [`publish_in`](Self::publish_in). Its parameters are the fields of
    /// [`Outgoing::row`] in order: `bigint, text, text, bytea, bytea, bytea`. It must change one row.
    #[must_use]
    pub fn insert_sql(&self) -> &str {
        &self.texts.insert
    }
}

pub(super) fn inserted(changed: u64, expected: usize) -> Result<()> {
    if usize::try_from(changed) == Ok(expected) {
        return Ok(());
    }
    let message = "outbox: the table outbox_turn has no row, so nothing was published; restore its row or make the tables anew";
    Err(Error::new(ErrorKind::Config, message))
}

impl Deref for PostgresOutbox {
    type Target = Outbox;

    fn deref(&self) -> &Outbox {
        &self.outbox
    }
}
