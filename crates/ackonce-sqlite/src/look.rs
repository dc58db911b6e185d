//! Looking through the records in short reads.
//!
//! A read that lasts keeps the log from starting over, so none spans more than a chunk of the table,
//! however rare what it looks for is.

use std::time::Duration;

use ackonce::{Entry, Error, Page, Result, State, Stats};
use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use crate::clock;
use crate::columns::{Columns, code, columns};
use crate::error::rolled_back;

/// Records looked at in one read, at most.
const CHUNK: u32 = 2000;
/// A page ends early once its outcomes and reasons take as much memory.
const PAGE_BYTES: usize = 16 << 20;

const COUNT: &str = "SELECT max(key), sum(state = 0), sum(state = 1), sum(state = 2), sum(state = 3) FROM \
                     (SELECT key, state FROM main.ackonce_records WHERE key > ?1 ORDER BY key LIMIT ?2)";
const END: &str = "SELECT max(key) FROM \
                   (SELECT key FROM main.ackonce_records WHERE key > ?1 ORDER BY key LIMIT ?2)";
const LIST: &str = concat!(
    "SELECT ",
    columns!(),
    ", key, scope, id FROM main.ackonce_records WHERE key > ?1 AND key <= ?2 AND expires > ?3 \
     AND (?4 IS NULL OR state = ?4) ORDER BY key"
);

/// What a look is made with.
pub(crate) struct Look<'l> {
    pub(crate) conn: &'l Connection,
    /// Whether nobody waits for it any more.
    pub(crate) gone: &'l dyn Fn() -> bool,
}

impl Look<'_> {
    /// Up to `limit` records of that state after that key.
    pub(crate) fn page(&self, state: Option<State>, limit: usize, mut after: Vec<u8>) -> Result<Page> {
        let mut page = Filling { limit, bytes: 0, entries: Vec::new() };
        while !(self.gone)() {
            let end: Option<Vec<u8>> = self
                .conn
                .prepare_cached(END)
                .and_then(|mut s| s.query_row(params![after, CHUNK], |r| r.get(0)))
                .map_err(looking)?;
            let Some(end) = end else { break };
            if !self.fill(&mut page, state, &after, &end)? {
                let next = page.entries.last().map(|e| e.digest.clone());
                return Ok(Page { entries: page.entries, next });
            }
            after = end;
        }
        Ok(Page { entries: page.entries, next: None })
    }

    /// Adds what is wanted of one chunk; whether there was room for all of it.
    fn fill(&self, page: &mut Filling, state: Option<State>, after: &[u8], end: &[u8]) -> Result<bool> {
        let now = clock::now();
        let mut statement = self.conn.prepare_cached(LIST).map_err(looking)?;
        let moment = i64::try_from(now).unwrap_or(i64::MAX);
        let mut rows = statement.query(params![after, end, moment, state.map(code)]).map_err(looking)?;
        while let Some(row) = rows.next().map_err(looking)? {
            let Some(entry) = entry(row, now)? else { continue };
            if page.is_full() {
                return Ok(false);
            }
            page.push(entry);
        }
        Ok(true)
    }

    /// How many records of each state there are; what comes or goes meanwhile may or may not be counted.
    pub(crate) fn count(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        let mut after = Vec::new();
        while !(self.gone)() {
            let (end, counts) = self
                .conn
                .prepare_cached(COUNT)
                .and_then(|mut s| s.query_row(params![after, CHUNK], counts))
                .map_err(looking)?;
            let Some(end) = end else { break };
            let [done, claimed, released, buried] = counts;
            stats.done += done;
            stats.claimed += claimed;
            stats.released += released;
            stats.buried += buried;
            after = end;
        }
        Ok(stats)
    }
}

/// What a row of [`LIST`] shows; nothing if it has expired.
fn entry(row: &Row<'_>, now: u64) -> Result<Option<Entry>> {
    let names = || rusqlite::Result::Ok((row.get(11)?, row.get(12)?, row.get(13)?));
    let (digest, scope, id): (Vec<u8>, _, Option<Vec<u8>>) = names().map_err(looking)?;
    let seen = Columns::of(row).map_err(looking)?.decode(now)?.row;
    // A clock that was set back makes it end sooner than its column says.
    if seen.expires <= now {
        return Ok(None);
    }
    let left = |until: u64| Duration::from_micros(until.saturating_sub(now));
    Ok(Some(Entry {
        digest: digest.into(),
        scope,
        id: id.map(Bytes::from),
        expires_in: left(seen.expires),
        lease_ends_in: left(seen.lease_ends),
        record: seen.record(now),
    }))
}

fn counts(row: &Row<'_>) -> rusqlite::Result<(Option<Vec<u8>>, [u64; 4])> {
    // No sum of no rows.
    let count = |n| row.get(n).map(|sum: Option<i64>| sum.unwrap_or(0).unsigned_abs());
    Ok((row.get(0)?, [count(1)?, count(2)?, count(3)?, count(4)?]))
}

fn looking(error: rusqlite::Error) -> Error {
    rolled_back("looking at the records", error)
}

/// A page in the making.
struct Filling {
    limit: usize,
    bytes: usize,
    entries: Vec<Entry>,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn push(&mut self, entry: Entry) {
        let record = &entry.record;
        self.bytes +=
            record.outcome.as_ref().map_or(0, Bytes::len) + record.reason.as_ref().map_or(0, String::len);
        self.entries.push(entry);
    }
}
