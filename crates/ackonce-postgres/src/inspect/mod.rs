//! Inspection and repair: the store's operations for operators.

pub(crate) mod repair;
pub(crate) mod sweep;

use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{AdminOutcome, Entry, Inspect, Note, Page, Query, Record, State, Stats, Token};
use ackonce::{Error, ErrorKind, Key, Result};
use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::Row as Columns;
use tokio_postgres::types::{FromSql, ToSql, Type};

use crate::PostgresStore;
use crate::connection::Waiting;
use crate::error::statement;
use crate::records::{Id, LIST, LOOK, Texts, decode};
use crate::store::Inner;
use repair::{FORGET, REDRIVE, Repair};

/// The number of records that one page of a list reads.
const LOOK_AT: i64 = 20_000;
/// The most entries of a page.
const MAX_PAGE: usize = 1000;
/// A page ends early when its outcomes and reasons take more bytes than this.
const PAGE_BYTES: i64 = 16 << 20;

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
        let after = match &query.after {
            None => Id([0; 16]),
            Some(cursor) => place(cursor)
                .ok_or_else(|| Error::new(ErrorKind::Invalid, "postgres: not a cursor of this store"))?,
        };
        let (state, limit) = (query.state.map(State::as_str), query.limit.clamp(1, MAX_PAGE));
        self.ask(|inner| async move {
            let text = list(&inner.texts());
            // One more entry shows that another page follows.
            let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
            let params: [(&(dyn ToSql + Sync), Type); 4] =
                [(&after, Type::UUID), (&state, Type::TEXT), (&most, Type::INT8), (&PAGE_BYTES, Type::INT8)];
            page(&inner.client.query("listing records", &text, &params).await?, limit)
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

pub(crate) fn list(texts: &Texts<'_>) -> String {
    texts.fill(&LIST.replace("{most}", &LOOK_AT.to_string()))
}

fn page(rows: &[Columns], limit: usize) -> Result<Page> {
    let mut entries = Vec::new();
    let (mut more, mut last) = (false, None);
    for row in rows {
        if get::<i64>(row, 13)? == LOOK_AT {
            last = get::<Option<Id>>(row, 14)?;
        }
        // A page without entries is one row without a key.
        let Some(entry) = entry(row)? else { continue };
        more = entries.len() == limit || get::<bool>(row, 12)?;
        if more {
            break;
        }
        entries.push(entry);
    }
    let next = match more {
        true => entries.last().map(|entry| cursor(&entry.digest)),
        false => last.map(|id| cursor(&id.0)),
    };
    Ok(Page { entries, next })
}

/// The end of a page. It is one byte longer than a key, so that a digest cannot pass for a cursor.
fn cursor(key: &[u8]) -> Bytes {
    [b"k", key].concat().into()
}

fn place(cursor: &[u8]) -> Option<Id> {
    cursor.strip_prefix(b"k")?.try_into().ok().map(Id)
}

fn entry(row: &Columns) -> Result<Option<Entry>> {
    let Some(current) = decode(row)? else { return Ok(None) };
    let found =
        current.row.ok_or_else(|| Error::new(ErrorKind::Protocol, "postgres: a record without columns"))?;
    let (found, now) = (found.under(Token([0; 16])), current.now);
    Ok(Some(Entry {
        digest: Bytes::copy_from_slice(&current.key.0),
        scope: get(row, 10)?,
        id: get::<Option<&[u8]>>(row, 11)?.map(Bytes::copy_from_slice),
        record: found.record(now),
        expires_in: Duration::from_micros(found.expires.saturating_sub(now)),
        free_in: found.free_in(now),
    }))
}

fn get<'a, T: FromSql<'a>>(row: &'a Columns, n: usize) -> Result<T> {
    row.try_get(n).map_err(|e| statement("reading an answer", e))
}
