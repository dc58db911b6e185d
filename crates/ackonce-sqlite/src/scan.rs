//! Inspection of the records in short reads.
//!
//! A long read keeps the log from starting over, so no read spans more than a chunk of a table, even if few records
//! in it match.

use std::cell::RefCell;
use std::time::Duration;

use ackonce::store::{Entry, Page, State, Stats};
use ackonce::{Error, Result};
use bytes::Bytes;
use rusqlite::{Connection, Row, params};

use crate::clock::Clock;
use crate::columns::{Brief, Full, Seen, brief, code, full};
use crate::cursor::{Cursor, Table};
use crate::error::rolled_back;
use crate::records::{Keeping, Known, Records};

/// The maximum number of records in one read.
const CHUNK: u32 = 2000;
/// A page ends early once its outcomes and reasons take as much memory.
const PAGE_BYTES: usize = 16 << 20;

/// The context of an inspection.
pub(crate) struct Scan<'l> {
    pub(crate) conn: &'l Connection,
    pub(crate) known: &'l RefCell<Known>,
    pub(crate) keeping: Keeping,
    pub(crate) clock: &'l Clock,
    /// True if its caller has gone away.
    pub(crate) gone: &'l dyn Fn() -> bool,
}

impl Scan<'_> {
    /// Runs `ask` on a snapshot, so that a record that moves from one table to another appears in exactly one of
    /// them.
    pub(crate) fn at_once<T>(&self, ask: impl FnOnce(&Records<'_>, u64) -> Result<T>) -> Result<T> {
        let read = self.conn.unchecked_transaction().map_err(reading)?;
        let answer = ask(&Records::of(&read, self.known, self.keeping)?, self.clock.now())?;
        read.finish().map_err(reading)?;
        Ok(answer)
    }

    /// Up to `limit` records of that state after that position.
    pub(crate) fn page(&self, state: Option<State>, limit: usize, start: Cursor) -> Result<Page> {
        let mut page = Filling { limit, bytes: 0, entries: Vec::new(), last: None };
        let mut next = Some(start);
        while let Some(cursor) = next.take().filter(|_| !(self.gone)()) {
            match self.at_once(|records, now| fill(&mut page, records, state, &cursor, now))? {
                Some(after) => next = after,
                None => {
                    return Ok(Page { entries: page.entries, next: page.last.map(|p| p.to_bytes().into()) });
                }
            }
        }
        Ok(Page { entries: page.entries, next: None })
    }

    /// The number of records in each state; records that come or go meanwhile may or may not be counted.
    pub(crate) fn count(&self) -> Result<Stats> {
        let mut stats = Stats::default();
        let mut next = Some(Cursor::START);
        while let Some(cursor) = next.take().filter(|_| !(self.gone)()) {
            let ([done, claimed, released, buried], after) =
                self.at_once(|records, _| counts(records, &cursor))?;
            stats.done += done;
            stats.claimed += claimed;
            stats.released += released;
            stats.buried += buried;
            next = after;
        }
        Ok(stats)
    }
}

/// Adds the matching records of one chunk. Returns the position to continue from, or `None` if the page is full.
fn fill(
    page: &mut Filling,
    records: &Records<'_>,
    state: Option<State>,
    cursor: &Cursor,
    now: u64,
) -> Result<Option<Option<Cursor>>> {
    let (table, after) = records.generations(|_, all| Ok(cursor.table(&all.all)))?;
    if table.is_brief() && state.is_some_and(|state| state != State::Done) {
        return Ok(Some(table.end()));
    }
    let name = &table.name;
    let sql = format!("SELECT max(key) FROM (SELECT key FROM {name} WHERE key > ?1 ORDER BY key LIMIT ?2)");
    let end: Option<Vec<u8>> = records
        .conn
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row(params![after, CHUNK], |r| r.get(0)))
        .map_err(reading)?;
    let Some(end) = end else { return Ok(Some(table.end())) };
    let (columns, wanted) = match table.is_brief() {
        true => (concat!(brief!(), ", key"), "?4 IS NOT NULL OR ?4 IS NULL"),
        false => (concat!(full!(), ", key, scope, id"), "?4 IS NULL OR state = ?4"),
    };
    let expires = table.expires;
    let sql = format!(
        "SELECT {columns} FROM {name} WHERE key > ?1 AND key <= ?2 AND {expires} > ?3 AND ({wanted}) ORDER BY key"
    );
    let mut statement = records.conn.prepare_cached(&sql).map_err(reading)?;
    let expired = table.expired(now);
    let mut rows = statement.query(params![after, end, expired, state.map(code)]).map_err(reading)?;
    while let Some(row) = rows.next().map_err(reading)? {
        let Some(entry) = entry(row, &table, now)? else { continue };
        if page.is_full() {
            return Ok(None);
        }
        page.push(entry, &table);
    }
    Ok(Some(Some(table.after(end))))
}

/// The public entry for a row; `None` if it has expired.
fn entry(row: &Row<'_>, table: &Table, now: u64) -> Result<Option<Entry>> {
    let (seen, digest, scope, id) = shown(row, table, now)?;
    let seen = seen.row;
    // After the clock was set back it ends sooner than its column says.
    if seen.expires <= now {
        return Ok(None);
    }
    let left = |until: u64| Duration::from_micros(until.saturating_sub(now));
    Ok(Some(Entry {
        digest: digest.into(),
        scope,
        id: id.map(Bytes::from),
        expires_in: left(seen.expires),
        free_in: seen.free_in(now),
        record: seen.record(now),
    }))
}

/// The record, its name in the file, scope and message ID.
type Shown = (Seen, Vec<u8>, Option<String>, Option<Vec<u8>>);

fn shown(row: &Row<'_>, table: &Table, now: u64) -> Result<Shown> {
    match table.generation.as_ref().filter(|_| table.is_brief()) {
        Some(generation) => {
            let seen = Brief::of(row).map_err(reading)?.decode(generation, None, now)?;
            Ok((seen, row.get(4).map_err(reading)?, None, None))
        }
        None => {
            let names = || rusqlite::Result::Ok((row.get(11)?, row.get(12)?, row.get(13)?));
            let (name, scope, id) = names().map_err(reading)?;
            Ok((Full::of(row).map_err(reading)?.decode(now)?, name, scope, id))
        }
    }
}

/// Counts the done, claimed, released and buried records of one chunk; returns them with the position to continue
/// from.
fn counts(records: &Records<'_>, cursor: &Cursor) -> Result<([u64; 4], Option<Cursor>)> {
    let (table, after) = records.generations(|_, all| Ok(cursor.table(&all.all)))?;
    // The count of a sealed generation is stored.
    if let Some(sealed) = table.generation.as_ref().filter(|g| g.sealed && table.is_brief()) {
        let rows: i64 = records
            .conn
            .prepare_cached("SELECT rows FROM main.ackonce_generations WHERE id = ?1")
            .and_then(|mut s| s.query_row([sealed.id], |r| r.get(0)))
            .map_err(reading)?;
        return Ok(([rows.unsigned_abs(), 0, 0, 0], table.end()));
    }
    let (name, state) = (&table.name, if table.is_brief() { "0 AS state" } else { "state" });
    let sql = format!(
        "SELECT max(key), sum(state = 0), sum(state = 1), sum(state = 2), sum(state = 3) FROM \
         (SELECT key, {state} FROM {name} WHERE key > ?1 ORDER BY key LIMIT ?2)"
    );
    let count = |row: &Row<'_>| -> rusqlite::Result<(Option<Vec<u8>>, [u64; 4])> {
        // A sum over no rows is NULL.
        let count = |n| row.get(n).map(|sum: Option<i64>| sum.unwrap_or(0).unsigned_abs());
        Ok((row.get(0)?, [count(1)?, count(2)?, count(3)?, count(4)?]))
    };
    let (end, counts) = records
        .conn
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row(params![after, CHUNK], count))
        .map_err(reading)?;
    Ok((counts, end.map_or_else(|| table.end(), |key| Some(table.after(key)))))
}

fn reading(error: rusqlite::Error) -> Error {
    rolled_back("reading the records", error)
}

/// A page that is being filled.
struct Filling {
    limit: usize,
    bytes: usize,
    entries: Vec<Entry>,
    /// The position of its last entry.
    last: Option<Cursor>,
}

impl Filling {
    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn push(&mut self, entry: Entry, table: &Table) {
        let record = &entry.record;
        self.bytes +=
            record.outcome.as_ref().map_or(0, Bytes::len) + record.reason.as_ref().map_or(0, String::len);
        self.last = Some(table.after(entry.digest.to_vec()));
        self.entries.push(entry);
    }
}
