//! Pages of records.

use std::time::Duration;

use ackonce::store::{Entry, Page, State};
use ackonce::{Error, Result};
use bytes::Bytes;
use rusqlite::{Row, params};

use super::CHUNK;
use crate::connection::reader::Inspection;
use crate::error::rolled_back;
use crate::records::Records;
use crate::records::columns::{Brief, Decoded, Full, brief, full, state_code};
use crate::records::cursor::{Cursor, Table};

/// A page ends early once its outcomes and reasons take as much memory.
const PAGE_BYTES: usize = 16 << 20;

/// Up to `limit` records of that state after that position.
pub(super) fn page(
    inspection: &Inspection<'_>,
    state: Option<State>,
    limit: usize,
    start: Cursor,
) -> Result<Page> {
    let mut page = PageBuilder { limit, bytes: 0, entries: Vec::new(), last: None };
    let mut next = Some(start);
    while let Some(cursor) = next.take().filter(|_| !inspection.is_abandoned()) {
        match inspection.in_snapshot(|records, now| page.add_chunk(records, state, &cursor, now))? {
            Chunk::Read(after) => next = after,
            Chunk::PageFull => {
                return Ok(Page { entries: page.entries, next: page.last.map(|p| p.to_bytes().into()) });
            }
        }
    }
    Ok(Page { entries: page.entries, next: None })
}

/// The result of reading a chunk of a table.
enum Chunk {
    /// The chunk was read; the position to continue from, `None` after the last table.
    Read(Option<Cursor>),
    /// The page had no room for all of it.
    PageFull,
}

/// A page that is being filled.
struct PageBuilder {
    limit: usize,
    bytes: usize,
    entries: Vec<Entry>,
    /// The position of its last entry.
    last: Option<Cursor>,
}

impl PageBuilder {
    /// Adds the matching records of one chunk. The chunk ends after a number of records even if few of them match.
    fn add_chunk(
        &mut self,
        records: &Records<'_>,
        state: Option<State>,
        cursor: &Cursor,
        now: u64,
    ) -> Result<Chunk> {
        let (table, after) = records.table_at(cursor)?;
        if table.brief().is_some() && state.is_some_and(|state| state != State::Done) {
            return Ok(Chunk::Read(table.end()));
        }
        let Some(end) = chunk_end(records, &table, after)? else { return Ok(Chunk::Read(table.end())) };
        let (columns, matches) = match table.brief() {
            Some(_) => (concat!(brief!(), ", key"), "?4 IS NOT NULL OR ?4 IS NULL"),
            None => (concat!(full!(), ", key, scope, id"), "?4 IS NULL OR state = ?4"),
        };
        let (name, expires) = (&table.name, table.expires);
        let sql = format!(
            "SELECT {columns} FROM {name} WHERE key > ?1 AND key <= ?2 AND {expires} > ?3 AND ({matches}) ORDER BY key"
        );
        let mut statement = records.conn.prepare_cached(&sql).map_err(reading)?;
        let expired = table.expiry_bound(now);
        let mut rows =
            statement.query(params![after, end, expired, state.map(state_code)]).map_err(reading)?;
        while let Some(row) = rows.next().map_err(reading)? {
            let Some(entry) = entry(row, &table, now)? else { continue };
            if self.is_full() {
                return Ok(Chunk::PageFull);
            }
            self.push(entry, &table);
        }
        Ok(Chunk::Read(Some(table.after(end))))
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn push(&mut self, entry: Entry, table: &Table) {
        let record = &entry.record;
        self.bytes += record.outcome.as_ref().or(record.progress.as_ref()).map_or(0, Bytes::len)
            + record.reason.as_ref().map_or(0, String::len);
        self.last = Some(table.after(entry.digest.to_vec()));
        self.entries.push(entry);
    }
}

/// The last key of the chunk after a key of the table; `None` if no record follows.
fn chunk_end(records: &Records<'_>, table: &Table, after: &[u8]) -> Result<Option<Vec<u8>>> {
    let name = &table.name;
    let sql = format!("SELECT max(key) FROM (SELECT key FROM {name} WHERE key > ?1 ORDER BY key LIMIT ?2)");
    records
        .conn
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row(params![after, CHUNK], |r| r.get(0)))
        .map_err(reading)
}

/// The public entry for a row; `None` if it has expired.
fn entry(row: &Row<'_>, table: &Table, now: u64) -> Result<Option<Entry>> {
    let Columns { decoded, record_key, scope, id } = Columns::of(row, table, now)?;
    let record = decoded.row;
    // After the clock was set back it ends sooner than its column says.
    if record.expires <= now {
        return Ok(None);
    }
    Ok(Some(Entry {
        digest: record_key.into(),
        scope,
        id: id.map(Bytes::from),
        expires_in: Duration::from_micros(record.expires.saturating_sub(now)),
        free_in: record.free_in(now),
        record: record.record(now),
    }))
}

/// The columns of a listed record.
struct Columns {
    decoded: Decoded,
    record_key: Vec<u8>,
    scope: Option<String>,
    id: Option<Vec<u8>>,
}

impl Columns {
    fn of(row: &Row<'_>, table: &Table, now: u64) -> Result<Self> {
        if let Some(generation) = table.brief() {
            let bases = (generation.opened, generation.life);
            let decoded = Brief::of(row).map_err(reading)?.decode(bases, None, now)?;
            return Ok(Self { decoded, record_key: row.get(4).map_err(reading)?, scope: None, id: None });
        }
        let names = || rusqlite::Result::Ok((row.get(11)?, row.get(12)?, row.get(13)?));
        let (record_key, scope, id) = names().map_err(reading)?;
        Ok(Self { decoded: Full::of(row).map_err(reading)?.decode(now)?, record_key, scope, id })
    }
}

fn reading(error: rusqlite::Error) -> Error {
    rolled_back("reading the records", error)
}
