//! Inspection and repair: the store's operations for operators.

pub(crate) mod list;
pub(crate) mod repair;
pub(crate) mod sweep;

use std::sync::Arc;

use ackonce::store::{AdminOutcome, Inspect, Note, Page, Query, Record, Stats, Token};
use ackonce::{Key, Result};
use async_trait::async_trait;
use tokio_postgres::Row as Columns;
use tokio_postgres::types::{FromSql, Type};

use crate::PostgresStore;
use crate::connection::Waiting;
use crate::error::statement;
use crate::records::{LOOK, decode};
use crate::store::Inner;
use repair::{FORGET, REDRIVE, Repair};

const STATS: &str = "SELECT count(*) FILTER (WHERE state = 'claimed'), count(*) FILTER (WHERE state = 'released'), \
                     count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'buried'), \
                     (pg_total_relation_size(to_regclass('{schema}.record')) \
                      + pg_total_relation_size(to_regclass('{schema}.name')))::int8 \
                     FROM (SELECT {state} AS state FROM {schema}.record) AS states";

/// Each change by hand commits together with a row in the table `audit` of the same schema, which names the operator,
/// the change, the time and the reason. You may read and prune that table.
#[async_trait]
impl Inspect for PostgresStore {
    async fn get(&self, key: &Key) -> Result<Option<Record>> {
        let id = self.inner.salt.id(key);
        self.ask(|inner| async move {
            let text = inner.texts().fill(LOOK);
            let rows =
                inner.client.query("reading a record", &text, &[(&&[id][..], Type::UUID_ARRAY)]).await?;
            let Some(current) = rows.first().map(decode).transpose()?.flatten() else { return Ok(None) };
            let row = current.row.map(|row| row.under(Token([0; 16])));
            Ok(row.filter(|row| current.now < row.expires).map(|row| row.record(current.now)))
        })
        .await
    }

    /// A page has at most 1000 entries, and fewer if few of the records that it reads match: continue until
    /// there is no `next`.
    async fn list(&self, query: &Query) -> Result<Page> {
        let query = list::Request::new(query)?;
        self.ask(|inner| async move {
            let rows =
                inner.client.query("listing records", &list::text(&inner.texts()), &query.params()).await?;
            list::page(&rows, query.limit)
        })
        .await
    }

    /// Counts every record, which reads the whole table. The bytes are those of records and names, with indexes.
    async fn stats(&self) -> Result<Stats> {
        self.ask(|inner| async move {
            let text = inner.texts().fill(STATS);
            inner
                .client
                .with_connection(async |mut connection| {
                    let row = connection.object()?.query_typed_one(&text, &[]).await;
                    let row = row.map_err(|e| statement("counting records", e))?;
                    let count = |n| get::<i64>(&row, n).map(|count| u64::try_from(count).unwrap_or(0));
                    let stats = Stats {
                        claimed: count(0)?,
                        released: count(1)?,
                        done: count(2)?,
                        buried: count(3)?,
                        bytes: Some(count(4)?),
                    };
                    Ok((stats, connection))
                })
                .await
        })
        .await
    }

    async fn forget(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair(key, note, &FORGET).await
    }

    async fn redrive(&self, key: &Key, note: &Note) -> Result<AdminOutcome> {
        self.repair(key, note, &REDRIVE).await
    }

    async fn sweep(&self) -> Result<u64> {
        self.ask(|inner| async move { inner.sweeper.pass(&inner.client).await }).await
    }
}

impl PostgresStore {
    /// Runs a request on the store's thread.
    async fn ask<T, F>(&self, ask: impl FnOnce(Arc<Inner>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T>> + Send + 'static,
    {
        let asked = ask(Arc::clone(&self.inner));
        self.inner.thread.call(|waiting: Waiting<T>| async move { waiting.answer(asked.await) }).await
    }

    async fn repair(&self, key: &Key, note: &Note, repair: &'static Repair) -> Result<AdminOutcome> {
        let (key, note) = (key.clone(), note.clone());
        self.ask(|inner| async move {
            let done = inner
                .client
                .with_connection(async |connection| repair.run(&inner, connection, &key, &note).await)
                .await?;
            if let (AdminOutcome::Yes, Some(before)) = done {
                note.audit(repair.operation, &key, before);
            }
            Ok(done.0)
        })
        .await
    }
}

fn get<'a, T: FromSql<'a>>(row: &'a Columns, n: usize) -> Result<T> {
    row.try_get(n).map_err(|e| statement("reading an answer", e))
}
