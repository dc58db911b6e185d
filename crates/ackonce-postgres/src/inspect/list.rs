//! Pages of records.

use std::time::{Duration, Instant};

use ackonce::store::{Entry, PAGE_TIME, Page, Query, State, Token};
use ackonce::{Error, ErrorKind, Result};
use bytes::Bytes;
use tokio_postgres::Row as Columns;
use tokio_postgres::types::Type;

use super::get;
use crate::connection::{Param, PoolClient};
use crate::records::{Id, LIST, RowState, Texts, decode};
use crate::request::micros;

/// The number of records that one statement reads.
const LOOK_AT: i64 = 20_000;
/// The most entries of a page.
const MAX_PAGE: usize = 1000;
/// A page ends early when its outcomes and reasons take more bytes than this.
const PAGE_BYTES: i64 = 16 << 20;

/// The way to the records that may match, in the order of their keys.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Path {
    /// All records.
    Whole,
    /// Those that are not done, by their own index.
    Open,
    /// Those with names of the scope.
    Scope,
}

impl Path {
    fn of(query: &Query) -> Self {
        match (query.filter.only(), &query.filter.scope) {
            (Some(State::Claimed | State::Released | State::Buried), _) => Self::Open,
            (_, Some(_)) => Self::Scope,
            _ => Self::Whole,
        }
    }

    fn looked(self) -> &'static str {
        match self {
            Self::Whole => {
                "SELECT r.*, {state} AS state FROM {schema}.record r WHERE key > $1 ORDER BY key LIMIT {most}"
            }
            Self::Open => {
                "SELECT r.*, {state} AS state FROM {schema}.record r WHERE key > $1 AND ({open}) ORDER BY key LIMIT {most}"
            }
            Self::Scope => {
                "SELECT n.key, r.fence, r.expires, r.token, r.free_at, r.tally, r.fingerprint, r.detail, {state} AS state \
                 FROM (SELECT key FROM {schema}.name WHERE scope = $5 AND key > $1 ORDER BY scope, key LIMIT {most}) n \
                 LEFT JOIN LATERAL (SELECT * FROM {schema}.record WHERE record.key = n.key LIMIT 1) r ON true"
            }
        }
    }
}

pub(crate) fn text(texts: &Texts<'_>, path: Path) -> String {
    texts.fill(&LIST.replace("{looked}", path.looked()).replace("{most}", &LOOK_AT.to_string()))
}

/// A page that is being filled.
pub(super) struct PageBuilder {
    query: Query,
    limit: usize,
    reason: Option<Vec<u8>>,
    age: Option<i64>,
    entries: Vec<Entry>,
    /// The end of the records that were read; `None` after the last one.
    place: Option<Id>,
    left_bytes: i64,
}

impl PageBuilder {
    pub(super) fn new(query: &Query) -> Result<Self> {
        let place = match query.place("postgres")? {
            None => Id([0; 16]),
            Some(place) => Id(place.try_into().map_err(|_| foreign())?),
        };
        let filter = &query.filter;
        Ok(Self {
            limit: query.limit.clamp(1, MAX_PAGE),
            reason: filter.reason.as_ref().map(|reason| reason.as_bytes().to_vec()),
            age: filter.older_than.map(micros),
            entries: Vec::new(),
            place: (!filter.is_void()).then_some(place),
            left_bytes: PAGE_BYTES,
            query: query.clone(),
        })
    }

    /// Reads until the page is full, the records are at an end, or the time is over.
    pub(super) async fn fill(mut self, client: &PoolClient, texts: &Texts<'_>) -> Result<Page> {
        let (began, text) = (Instant::now(), text(texts, Path::of(&self.query)));
        while let Some(place) = self.place {
            // One more entry shows that others follow.
            let most = i64::try_from(self.limit + 1 - self.entries.len()).unwrap_or(i64::MAX);
            let (state, scope) =
                (self.query.filter.state.map(State::as_str), self.query.filter.scope.as_deref());
            let params: [Param<'_>; 7] = [
                (&place, Type::UUID),
                (&state, Type::TEXT),
                (&most, Type::INT8),
                (&self.left_bytes, Type::INT8),
                (&scope, Type::TEXT),
                (&self.reason, Type::BYTEA),
                (&self.age, Type::INT8),
            ];
            let rows = client.query("listing records", &text, &params).await?;
            if self.is_full_with(&rows)? || began.elapsed() > PAGE_TIME {
                break;
            }
        }
        let next = self.place.map(|place| self.query.cursor("postgres", &place.0));
        Ok(Page { entries: self.entries, next })
    }

    fn is_full_with(&mut self, rows: &[Columns]) -> Result<bool> {
        self.place = None;
        for row in rows {
            if get::<i64>(row, 13)? == LOOK_AT {
                self.place = get::<Option<Id>>(row, 14)?;
            }
            // A part without entries is one row without a key.
            let Some(current) = decode(row)? else { continue };
            if self.entries.len() == self.limit || get::<bool>(row, 12)? {
                let last = self.entries.last().and_then(|entry| entry.digest[..].try_into().ok());
                self.place = last.map(Id);
                return Ok(true);
            }
            let entry = entry(current, get(row, 10)?, get::<Option<&[u8]>>(row, 11)?)?;
            self.left_bytes -= bytes_of(&entry);
            self.entries.push(entry);
        }
        Ok(self.left_bytes <= 0)
    }
}

fn bytes_of(entry: &Entry) -> i64 {
    let record = &entry.record;
    let bytes = record.outcome.as_ref().or(record.progress.as_ref()).map_or(0, Bytes::len)
        + record.reason.as_ref().map_or(0, String::len);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

fn foreign() -> Error {
    Error::new(ErrorKind::Invalid, "postgres: not a cursor of this store; list from the start")
}

/// The entry of a record that was read with its columns.
pub(super) fn entry(current: RowState, scope: Option<String>, id: Option<&[u8]>) -> Result<Entry> {
    let found =
        current.row.ok_or_else(|| Error::new(ErrorKind::Protocol, "postgres: a record without columns"))?;
    let (found, now) = (found.under(Token([0; 16])), current.now);
    Ok(Entry {
        digest: Bytes::copy_from_slice(&current.key.0),
        scope,
        id: id.map(Bytes::copy_from_slice),
        record: found.record(now),
        expires_in: Duration::from_micros(found.expires.saturating_sub(now)),
        free_in: found.free_in(now),
    })
}
