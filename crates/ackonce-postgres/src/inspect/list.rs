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

/// The most records that one statement reads.
const LOOK_AT: i64 = 20_000;
/// The factor by which each statement reads more records than the one before.
const MORE: i64 = 4;
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
                "SELECT r.*, {state} AS state FROM {schema}.record r WHERE key > $1 ORDER BY key LIMIT $8"
            }
            Self::Open => {
                "SELECT r.*, {state} AS state FROM {schema}.record r WHERE key > $1 AND ({open}) ORDER BY key LIMIT $8"
            }
            Self::Scope => {
                "SELECT n.key, r.fence, r.expires, r.token, r.free_at, r.tally, r.fingerprint, r.detail, {state} AS state \
                 FROM (SELECT key FROM {schema}.name WHERE scope = $5 AND key > $1 ORDER BY scope, key LIMIT $8) n \
                 LEFT JOIN LATERAL (SELECT * FROM {schema}.record WHERE record.key = n.key LIMIT 1) r ON true"
            }
        }
    }
}

pub(crate) fn text(texts: &Texts<'_>, path: Path) -> String {
    texts.fill(&LIST.replace("{looked}", path.looked()))
}

/// A page that is being filled.
pub(super) struct PageBuilder {
    pub(super) query: Query,
    limit: usize,
    entries: Vec<Entry>,
    pub(super) left_bytes: i64,
}

impl PageBuilder {
    pub(super) fn new(query: Query) -> Self {
        let limit = query.limit.clamp(1, MAX_PAGE);
        Self { query, limit, entries: Vec::new(), left_bytes: PAGE_BYTES }
    }

    /// The number of entries to ask for: one more than there is room for shows that others follow.
    pub(super) fn most(&self) -> i64 {
        i64::try_from(self.limit + 1 - self.entries.len()).unwrap_or(i64::MAX)
    }

    /// Adds the record of a row; false if there is no room for it.
    pub(super) fn add(&mut self, current: RowState, row: &Columns) -> Result<bool> {
        if self.entries.len() == self.limit || get::<bool>(row, 12)? {
            return Ok(false);
        }
        let entry = entry(current, get(row, 10)?, get::<Option<&[u8]>>(row, 11)?)?;
        self.left_bytes -= bytes_of(&entry);
        self.entries.push(entry);
        Ok(true)
    }

    /// True once the page has no more room for outcomes and reasons.
    pub(super) fn is_full(&self) -> bool {
        self.left_bytes <= 0
    }

    /// The page, and the place from which the next one continues.
    pub(super) fn end(self, place: Option<&[u8]>) -> Page {
        let next = place.map(|place| self.query.cursor("postgres", place));
        Page { entries: self.entries, next }
    }
}

/// The page of a query, in the order of the keys: it reads until the page is full, the records are at an end, or the
/// time is over.
pub(super) async fn by_key(query: Query, client: &PoolClient, texts: &Texts<'_>) -> Result<Page> {
    let start = match query.place("postgres")? {
        None => Id([0; 16]),
        Some(place) => Id(place.try_into().map_err(|_| foreign())?),
    };
    let filter = query.filter.clone();
    let (state, scope) = (filter.state.map(State::as_str), filter.scope.as_deref());
    let (reason, age) = (filter.reason.as_deref().map(str::as_bytes), filter.older_than.map(micros));
    let (began, text) = (Instant::now(), text(texts, Path::of(&query)));
    let mut page = PageBuilder::new(query);
    let (mut next, mut look_at) = (Some(start).filter(|_| !filter.is_void()), page.most().min(LOOK_AT));
    while let Some(place) = next {
        let most = page.most();
        let params: [Param<'_>; 8] = [
            (&place, Type::UUID),
            (&state, Type::TEXT),
            (&most, Type::INT8),
            (&page.left_bytes, Type::INT8),
            (&scope, Type::TEXT),
            (&reason, Type::BYTEA),
            (&age, Type::INT8),
            (&look_at, Type::INT8),
        ];
        let rows = client.query("listing records", &text, &params).await?;
        let (after, is_full) = add_rows(&mut page, &rows, look_at)?;
        next = after;
        if is_full || look_at == LOOK_AT && began.elapsed() > PAGE_TIME {
            break;
        }
        look_at = (look_at * MORE).min(LOOK_AT);
    }
    Ok(page.end(next.as_ref().map(|place| &place.0[..])))
}

/// The place to continue from, and true if the page is full.
fn add_rows(page: &mut PageBuilder, rows: &[Columns], looked_at: i64) -> Result<(Option<Id>, bool)> {
    let mut next = None;
    for row in rows {
        if get::<i64>(row, 13)? == looked_at {
            next = get::<Option<Id>>(row, 14)?;
        }
        // A part without entries is one row without a key.
        let Some(current) = decode(row)? else { continue };
        if !page.add(current, row)? {
            let last = page.entries.last().and_then(|entry| entry.digest[..].try_into().ok());
            return Ok((last.map(Id), true));
        }
    }
    Ok((next, page.is_full()))
}

fn bytes_of(entry: &Entry) -> i64 {
    let record = &entry.record;
    let bytes = record.outcome.as_ref().or(record.progress.as_ref()).map_or(0, Bytes::len) + record.reason.as_ref().map_or(0, String::len);
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

pub(super) fn foreign() -> Error {
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
