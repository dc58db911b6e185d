//! Inspection and repair: the store's operations for operators.

pub(crate) mod list;
pub(crate) mod pages;
pub(crate) mod repair;
pub(crate) mod sweep;

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{
    AdminOutcome, AuditEntry, Entry, Inspect, Note, Page, Query, RecordTarget, ScopeStats, State, Stats,
};
use ackonce::{Error, ErrorKind, Key, Result};
use async_trait::async_trait;
use tokio_postgres::Row as Columns;
use tokio_postgres::types::{FromSql, Type};

use crate::PostgresStore;
use crate::connection::{ConnectionGuard, Waiting};
use crate::error::statement;
use crate::records::{LOOK, decode};
use crate::store::Inner;
use repair::{FORGET, REDRIVE, Repair, Wanted};

const STATS: &str = "SELECT count(*) FILTER (WHERE state = 'claimed'), count(*) FILTER (WHERE state = 'released'), \
                     count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'buried'), \
                     (pg_total_relation_size(to_regclass('{schema}.record')) \
                      + pg_total_relation_size(to_regclass('{schema}.name')))::int8 \
                     FROM (SELECT {state} AS state FROM {schema}.record) AS states";

const SCOPES: &str = "SELECT count(*) FILTER (WHERE state = 'claimed'), count(*) FILTER (WHERE state = 'released'), \
                      count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state = 'buried'), scope \
                      FROM (SELECT {state} AS state, name.scope FROM {schema}.record \
                            LEFT JOIN {schema}.name ON name.key = record.key) AS states \
                      GROUP BY scope ORDER BY scope NULLS FIRST";

pub(crate) const CHANGES: &str = "SELECT operation, actor, reason, before, \
                       (extract(epoch FROM clock_timestamp() - at) * 1000000)::int8 \
                       FROM {schema}.audit WHERE key = $1 ORDER BY key, n";

/// Each change by hand commits together with a row in the table `audit` of the same schema, which names the operator,
/// the change, the time and the reason. You may read and prune that table.
#[async_trait]
impl Inspect for PostgresStore {
    async fn look(&self, key: &Key) -> Result<Option<Entry>> {
        let (id, key) = (self.inner.salt.id(key), key.clone());
        self.ask(|inner| async move {
            let text = inner.texts().fill(LOOK);
            let rows =
                inner.client.query("reading a record", &text, &[(&&[id][..], Type::UUID_ARRAY)]).await?;
            let Some(current) = rows.first().map(decode).transpose()?.flatten() else { return Ok(None) };
            let entry = list::entry(current, Some(key.scope().name().to_owned()), Some(key.id()))?;
            Ok(Some(entry).filter(|entry| !entry.expires_in.is_zero()))
        })
        .await
    }

    /// A page has at most 1000 entries.
    async fn list(&self, query: &Query) -> Result<Page> {
        let query = query.clone();
        self.ask(|inner| async move {
            match pages::serve(&query) {
                true => pages::by_page(query, &inner.client, &inner.texts()).await,
                false => list::by_key(query, &inner.client, &inner.texts()).await,
            }
        })
        .await
    }

    /// Counts every record, which reads the whole table. The bytes are those of records and names, with indexes.
    async fn stats(&self) -> Result<Stats> {
        let rows = self.count(STATS).await?;
        let row =
            rows.first().ok_or_else(|| Error::new(ErrorKind::Protocol, "postgres: a count without a row"))?;
        let ScopeStats { claimed, released, done, buried, .. } = counts(row)?;
        Ok(Stats { claimed, released, done, buried, bytes: Some(unsigned(get(row, 4)?)) })
    }

    /// Counts every record, which reads the whole tables of records and names.
    async fn scopes(&self) -> Result<Vec<ScopeStats>> {
        let rows = self.count(SCOPES).await?;
        rows.iter().map(|row| Ok(ScopeStats { scope: get(row, 4)?, ..counts(row)? })).collect()
    }

    async fn audit(&self, key: &Key) -> Result<Vec<AuditEntry>> {
        let id = self.inner.salt.id(key);
        self.ask(|inner| async move {
            let text = inner.texts().fill(CHANGES);
            let rows = inner.client.query("reading the audit trail", &text, &[(&id, Type::UUID)]).await?;
            rows.iter().map(change).collect()
        })
        .await
    }

    async fn forget(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair(target, note, &FORGET).await
    }

    async fn redrive(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome> {
        self.repair(target, note, &REDRIVE).await
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

    async fn repair(
        &self,
        target: RecordTarget<'_>,
        note: &Note,
        repair: &'static Repair,
    ) -> Result<AdminOutcome> {
        let (wanted, kept) = (Wanted::new(target, &self.inner.salt)?, note.clone());
        let (outcome, before) = self
            .ask(|inner| async move {
                let run = async |connection| repair.run(&inner, connection, &wanted, &kept).await;
                inner.client.with_connection(run).await
            })
            .await?;
        if let Some(before) = before {
            note.log(repair.operation, target, before);
        }
        Ok(outcome)
    }

    /// Runs a statement that reads whole tables, without the limits of the others.
    async fn count(&self, text: &'static str) -> Result<Vec<Columns>> {
        self.ask(move |inner| async move {
            let text = inner.texts().fill(text);
            let count = async |mut connection: ConnectionGuard| {
                let rows = connection.object()?.query_typed(&text, &[]).await;
                Ok((rows.map_err(|e| statement("counting records", e))?, connection))
            };
            inner.client.with_connection(count).await
        })
        .await
    }
}

/// The first four columns as counts.
fn counts(row: &Columns) -> Result<ScopeStats> {
    let count = |n| get(row, n).map(unsigned);
    let (claimed, released, done, buried) = (count(0)?, count(1)?, count(2)?, count(3)?);
    Ok(ScopeStats { scope: None, claimed, released, done, buried })
}

fn unsigned(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}

fn change(row: &Columns) -> Result<AuditEntry> {
    let before: String = get(row, 3)?;
    let known =
        || Error::new(ErrorKind::Corrupt, format!("postgres: the audit trail has a state {before:?}"));
    Ok(AuditEntry {
        operation: get(row, 0)?,
        actor: get(row, 1)?,
        reason: get(row, 2)?,
        before: State::from_name(&before).ok_or_else(known)?,
        age: Duration::from_micros(unsigned(get(row, 4)?)),
    })
}

fn get<'a, T: FromSql<'a>>(row: &'a Columns, n: usize) -> Result<T> {
    row.try_get(n).map_err(|e| statement("reading an answer", e))
}
