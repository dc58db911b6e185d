//! One page of records.

use std::time::Duration;

use ackonce::store::{Entry, Page, Query, State, Token};
use ackonce::{Error, ErrorKind, Result};
use bytes::Bytes;
use tokio_postgres::Row as Columns;
use tokio_postgres::types::Type;

use super::get;
use crate::connection::Param;
use crate::records::{Id, LIST, Texts, decode};

/// The number of records that one page of a list reads.
const LOOK_AT: i64 = 20_000;
/// The most entries of a page.
const MAX_PAGE: usize = 1000;
/// A page ends early when its outcomes and reasons take more bytes than this.
const PAGE_BYTES: i64 = 16 << 20;

/// The parameters of a page.
pub(super) struct Request {
    after: Id,
    state: Option<&'static str>,
    /// One more entry shows that another page follows.
    most: i64,
    pub(super) limit: usize,
}

impl Request {
    pub(super) fn new(query: &Query) -> Result<Self> {
        let after = match &query.after {
            None => Id([0; 16]),
            Some(cursor) => place(cursor)
                .ok_or_else(|| Error::new(ErrorKind::Invalid, "postgres: not a cursor of this store"))?,
        };
        let limit = query.limit.clamp(1, MAX_PAGE);
        let most = i64::try_from(limit + 1).unwrap_or(i64::MAX);
        Ok(Self { after, state: query.state.map(State::as_str), most, limit })
    }

    pub(super) fn params(&self) -> [Param<'_>; 4] {
        [
            (&self.after, Type::UUID),
            (&self.state, Type::TEXT),
            (&self.most, Type::INT8),
            (&PAGE_BYTES, Type::INT8),
        ]
    }
}

pub(crate) fn text(texts: &Texts<'_>) -> String {
    texts.fill(&LIST.replace("{most}", &LOOK_AT.to_string()))
}

pub(super) fn page(rows: &[Columns], limit: usize) -> Result<Page> {
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
