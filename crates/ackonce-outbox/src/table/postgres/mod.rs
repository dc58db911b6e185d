//! The outbox in PostgreSQL.

mod any_driver;
mod listener;
mod publish;
mod rotation;
mod rows;
mod texts;

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::Note;
use ackonce::{Deduplicator, Error, ErrorKind, Result};
use ackonce_postgres::deadpool_postgres::{Object, Pool};
use ackonce_postgres::tokio_postgres::types::{ToSql, Type};
use ackonce_postgres::tokio_postgres::{Client, IsolationLevel, Row as PgRow};
use ackonce_postgres::{PostgresStore, pool_failed, statement_answered};
use async_trait::async_trait;

pub use self::publish::PostgresOutbox;

use self::listener::Listener;
use self::rows::{duration, parked, row};
use self::texts::{Texts, fill};
use super::{OutboxTable, Parked, Presence, Row, ToPark, Wanted};
use crate::OutboxLag;

const TABLES: &str = include_str!("schema.sql");
/// The version of the tables that this code writes and reads.
const VERSION: i32 = 1;
/// The advisory lock of a process that creates the tables: `outbox` in ASCII.
const CREATING: i64 = 0x006f_7574_626f_7800;
/// Connections for reads, removals and upkeep.
const CONNECTIONS: usize = 4;
/// The time limit for an answer of the server.
const ANSWER: Duration = Duration::from_secs(30);

/// The tables in the schema of a store.
#[derive(Debug)]
pub(super) struct PostgresTable {
    store: PostgresStore,
    pool: Pool,
    texts: Texts,
    listener: Listener,
}

type Params<'a> = [(&'a (dyn ToSql + Sync), Type)];

impl PostgresTable {
    pub(super) fn new(store: &PostgresStore) -> Result<Self> {
        let pool = store.pool(CONNECTIONS)?;
        let listener = Listener::start(store.clone(), pool.clone());
        Ok(Self { store: store.clone(), pool, texts: Texts::new(store.schema()), listener })
    }

    /// Creates the tables unless they are there, in one transaction, and checks their version.
    pub(super) async fn create(&self) -> Result<()> {
        // Those that are there need no right to create them.
        if !self.are_there().await? {
            let failed = |e| statement_answered("creating the outbox", e);
            let mut client = self.client().await?;
            let level = IsolationLevel::ReadCommitted;
            let tx = client.build_transaction().isolation_level(level).start().await.map_err(failed)?;
            let lock = "SELECT pg_advisory_xact_lock($1)";
            tx.query_typed(lock, &[(&CREATING, Type::INT8)]).await.map_err(failed)?;
            // Somebody else may have created them meanwhile, and has committed then.
            if !self.are_there().await? {
                tx.batch_execute(&fill(TABLES, self.store.schema())).await.map_err(failed)?;
            }
            tx.commit().await.map_err(failed)?;
        }
        self.find().await
    }

    async fn are_there(&self) -> Result<bool> {
        let text = "SELECT EXISTS (SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
                    WHERE n.nspname = $1 AND c.relname = 'outbox_turn')";
        let schema = self.store.schema().as_str();
        let rows = self.query("looking for the outbox", text, &[(&schema, Type::TEXT)]).await?;
        Ok(rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false)))
    }

    /// Checks that the tables are there, and their version.
    pub(super) async fn find(&self) -> Result<()> {
        let schema = self.store.schema();
        if !self.are_there().await? {
            let message = format!("outbox: there is none in schema {schema:?}; mend the schema's name");
            return Err(Error::new(ErrorKind::Config, message));
        }
        let text = fill("SELECT version FROM {schema}.outbox_turn", schema);
        let rows = self.query("looking for the outbox", &text, &[]).await?;
        let version: i32 = rows.first().and_then(|row| row.try_get(0).ok()).unwrap_or_default();
        if version != VERSION {
            let message = format!(
                "outbox: the tables in schema {schema:?} are of version {version}, known is {VERSION}; upgrade ackonce-outbox"
            );
            return Err(Error::new(ErrorKind::NewerSchema, message));
        }
        Ok(())
    }

    async fn client(&self) -> Result<Object> {
        self.pool.get().await.map_err(pool_failed)
    }

    /// One statement on a connection of the pool, which is closed if no answer comes in time.
    async fn query(&self, doing: &str, text: &str, params: &Params<'_>) -> Result<Vec<PgRow>> {
        let client = Held(Some(self.client().await?));
        let answer = answered(doing, client.get()?.query_typed(text, params)).await;
        client.release(answer.is_ok());
        answer
    }

    /// A statement under the lock that parking and unparking take.
    async fn query_locked(&self, doing: &str, text: &str, params: &Params<'_>) -> Result<Vec<PgRow>> {
        let mut held = Held(Some(self.client().await?));
        let client = held.get_mut()?;
        let worked = async {
            let level = IsolationLevel::ReadCommitted;
            let tx = client.build_transaction().isolation_level(level).start().await?;
            tx.batch_execute(&self.texts.lock).await?;
            let rows = tx.query_typed(text, params).await?;
            tx.commit().await?;
            Ok(rows)
        };
        let answer = answered(doing, worked).await;
        held.release(answer.is_ok());
        answer
    }

    async fn unpark(&self, rows: Vec<i64>, operation: &'static str, note: Note) -> Result<u64> {
        let params: &Params<'_> = &[
            (&rows, Type::INT8_ARRAY),
            (&operation, Type::TEXT),
            (&note.actor, Type::TEXT),
            (&note.reason, Type::TEXT),
        ];
        let rows = self.query_locked("unparking rows", &self.texts.unpark, params).await?;
        count(rows.first(), 0)
    }
}

#[async_trait]
impl OutboxTable for PostgresTable {
    fn store(&self) -> Arc<dyn Deduplicator> {
        Arc::new(self.store.clone())
    }

    async fn read(&self, wanted: Wanted) -> Result<Vec<Row>> {
        let (most, bytes) = (bounded(wanted.rows), bounded(wanted.bytes));
        let ranges: Vec<i64> = wanted.ranges.iter().map(|range| i64::from(*range)).collect();
        let params: &Params<'_> = &[
            (&ranges, Type::INT8_ARRAY),
            (&wanted.busy, Type::INT8_ARRAY),
            (&most, Type::INT8),
            (&bytes, Type::INT8),
        ];
        let rows = self.query("reading the outbox", &self.texts.read, params).await?;
        rows.iter().map(row).collect()
    }

    async fn remove(&self, rows: Vec<i64>) -> Result<()> {
        let params: &Params<'_> = &[(&rows, Type::INT8_ARRAY)];
        self.query("removing sent rows", &self.texts.remove, params).await.map(drop)
    }

    async fn park(&self, rows: Vec<ToPark>) -> Result<()> {
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        let lanes: Vec<i64> = rows.iter().map(|row| row.lane).collect();
        // A text of PostgreSQL has no NUL.
        let reasons: Vec<_> =
            rows.iter().map(|row| row.reason.as_ref().map(|text| text.replace('\0', " "))).collect();
        let params: &Params<'_> =
            &[(&ids, Type::INT8_ARRAY), (&lanes, Type::INT8_ARRAY), (&reasons, Type::TEXT_ARRAY)];
        self.query_locked("parking rows", &self.texts.park, params).await.map(drop)
    }

    async fn parked(&self, from: i64, most: usize) -> Result<Vec<Parked>> {
        let most = bounded(most);
        let params: &Params<'_> = &[(&from, Type::INT8), (&most, Type::INT8)];
        let rows = self.query("listing parked rows", &self.texts.parked, params).await?;
        rows.iter().map(parked).collect()
    }

    async fn redrive(&self, rows: Vec<i64>, note: Note) -> Result<u64> {
        self.unpark(rows, "redrive", note).await
    }

    async fn discard(&self, rows: Vec<i64>, note: Note) -> Result<u64> {
        self.unpark(rows, "discard", note).await
    }

    async fn lag(&self) -> Result<OutboxLag> {
        let rows = self.query("reading the lag", &self.texts.lag, &[]).await?;
        let oldest: f64 = rows.first().and_then(|row| row.try_get("oldest").ok()).unwrap_or_default();
        Ok(OutboxLag {
            waiting: count(rows.first(), 1)?,
            oldest: duration(oldest),
            parked: count(rows.first(), 3)?,
        })
    }

    async fn announce(&self, relay: [u8; 16], lease: Duration) -> Result<Presence> {
        let micros = i64::try_from(lease.as_micros()).unwrap_or(i64::MAX);
        let relay = &relay[..];
        let params: &Params<'_> = &[(&relay, Type::BYTEA), (&micros, Type::INT8)];
        let others = self.query("announcing the relay", &self.texts.announce, params).await?;
        let others = usize::try_from(count(others.first(), 0)?).unwrap_or(0);
        Ok(Presence { relays: others + 1, lag: self.lag().await? })
    }

    async fn leave(&self, relay: [u8; 16]) -> Result<()> {
        let relay = &relay[..];
        let params: &Params<'_> = &[(&relay, Type::BYTEA)];
        self.query("leaving the outbox", &self.texts.leave, params).await.map(drop)
    }

    async fn upkeep(&self) -> Result<()> {
        self.rotate().await
    }

    async fn changed(&self) {
        self.listener.changed().await;
    }

    fn wake(&self) {
        self.listener.wake();
    }
}

async fn answered<T>(
    doing: &str,
    work: impl Future<Output = Result<T, ackonce_postgres::tokio_postgres::Error>>,
) -> Result<T> {
    match tokio::time::timeout(ANSWER, work).await {
        Ok(answer) => answer.map_err(|e| statement_answered(doing, e)),
        Err(_) => Err(Error::new(ErrorKind::Timeout, format!("postgres: {doing}: no answer in {ANSWER:?}"))),
    }
}

/// A connection that goes back to its pool only if its answer has come.
struct Held(Option<Object>);

impl Held {
    fn get(&self) -> Result<&Client> {
        self.0.as_deref().map(|object| &**object).ok_or_else(gone)
    }

    fn get_mut(&mut self) -> Result<&mut Object> {
        self.0.as_mut().ok_or_else(gone)
    }

    fn release(mut self, is_clean: bool) {
        if is_clean {
            drop(self.0.take());
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take().map(Object::take));
    }
}

fn gone() -> Error {
    Error::new(ErrorKind::Protocol, "postgres: the connection is gone")
}

fn bounded(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

fn count(row: Option<&PgRow>, column: usize) -> Result<u64> {
    let value: Option<i64> = row.and_then(|row| row.try_get(column).ok());
    let value = value.and_then(|value| u64::try_from(value).ok());
    value.ok_or_else(|| Error::new(ErrorKind::Protocol, "postgres: the server gave no count"))
}
