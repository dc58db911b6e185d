//! Pages of records.

use std::time::{Duration, Instant};

use ackonce::store::{Entry, PAGE_TIME, Page, Query, State};
use ackonce::{Error, Result};
use bytes::Bytes;
use rusqlite::{Row, params};

use super::CHUNK;
use crate::clock::{micros, moment};
use crate::connection::reader::Inspection;
use crate::error::rolled_back;
use crate::records::Records;
use crate::records::columns::{Brief, Decoded, Full, brief, full, state_code};
use crate::records::cursor::{Cursor, Table};

/// A page ends early once its outcomes and reasons take as much memory.
const PAGE_BYTES: usize = 16 << 20;
/// The least records that are read for a page, however long it takes.
const LEAST: u32 = 20_000;

/// The page of a query from that position on.
pub(super) fn page(inspection: &Inspection<'_>, query: Query, start: Cursor) -> Result<Page> {
    let (began, limit) = (Instant::now(), query.limit.max(1));
    let mut page = PageBuilder { query, limit, bytes: 0, read: 0, entries: Vec::new(), last: None };
    let mut next = Some(start).filter(|_| !page.query.filter.is_void());
    while let Some(cursor) = next.take().filter(|_| !inspection.is_abandoned()) {
        let is_late = page.read >= LEAST && began.elapsed() > PAGE_TIME;
        let chunk = match is_late {
            true => Chunk::PageFull(Some(cursor)),
            false => inspection.in_snapshot(|records, now| page.add_chunk(records, &cursor, now))?,
        };
        match chunk {
            Chunk::Read(after) => next = after,
            Chunk::PageFull(end) => {
                let next = end.map(|end| page.query.cursor("sqlite", &end.to_bytes()));
                return Ok(Page { entries: page.entries, next });
            }
        }
    }
    Ok(Page { entries: page.entries, next: None })
}

/// The result of reading a chunk of a table.
enum Chunk {
    /// The chunk was read; the position to continue from, `None` after the last table.
    Read(Option<Cursor>),
    /// The page has no room or no time for more; the position to continue from.
    PageFull(Option<Cursor>),
}

/// The part of a table that may match.
struct Part {
    /// The table's name in a statement, with the index to use.
    source: String,
    /// A condition that this index implies.
    condition: &'static str,
}

/// A page that is being filled.
struct PageBuilder {
    query: Query,
    limit: usize,
    bytes: usize,
    /// The number of records that were read.
    read: u32,
    entries: Vec<Entry>,
    /// The position of its last entry.
    last: Option<Cursor>,
}

impl PageBuilder {
    /// The part of a table that may match; `None` if none does.
    fn part(&self, table: &Table) -> Option<Part> {
        let (only, scope) = (self.query.filter.only(), &self.query.filter.scope);
        if table.brief().is_some() {
            // A brief record is done, and has no names.
            let may = only.is_none_or(|state| state == State::Done) && scope.is_none();
            return may.then(|| Part { source: table.name.clone(), condition: "true" });
        }
        let Some(generation) = &table.generation else {
            return Some(Part { source: table.name.clone(), condition: "true" });
        };
        let by = |index, condition| {
            let source = format!("{} INDEXED BY {}_{index}", table.name, generation.bare_table());
            Some(Part { source, condition })
        };
        match (only, scope) {
            (Some(State::Claimed | State::Released), _) => None,
            (Some(State::Buried), _) => by("buried", "state = 3"),
            (_, Some(_)) => by("scope", "scope = ?5"),
            _ => Some(Part { source: table.name.clone(), condition: "true" }),
        }
    }

    /// Adds the matching records of one chunk. The chunk ends after a number of records even if few of them match.
    fn add_chunk(&mut self, records: &Records<'_>, cursor: &Cursor, now: u64) -> Result<Chunk> {
        let (table, after) = records.table_at(cursor)?;
        let Some(part) = self.part(&table) else { return Ok(Chunk::Read(table.end())) };
        let (end, read) = self.chunk_end(records, &part, after)?;
        self.read = self.read.saturating_add(read);
        let Some(end) = end else { return Ok(Chunk::Read(table.end())) };
        let filter = &self.query.filter;
        let (columns, matches) = match table.brief() {
            Some(_) => (concat!(brief!(), ", key"), "fence <= ?6"),
            None => (
                concat!(full!(), ", key, scope, id"),
                "(?4 IS NULL OR state = ?4) AND (?5 IS NULL OR scope = ?5) AND coalesce(claimed, fence) <= ?6",
            ),
        };
        let (expires, Part { source, condition }) = (table.expires, part);
        let sql = format!(
            "SELECT {columns} FROM {source} WHERE {condition} AND key > ?1 AND key <= ?2 AND {expires} > ?3 \
             AND {matches} ORDER BY key"
        );
        let mut statement = records.conn.prepare_cached(&sql).map_err(reading)?;
        let (state, expired) = (filter.state.map(state_code), table.expiry_bound(now));
        // Without an age, records of a clock that was set back count as well.
        let age = filter.older_than.filter(|age| !age.is_zero());
        let claimed = age.map_or(i64::MAX, |age| table.fence_bound(now).saturating_sub(moment(micros(age))));
        let mut rows =
            statement.query(params![after, end, expired, state, filter.scope, claimed]).map_err(reading)?;
        while let Some(row) = rows.next().map_err(reading)? {
            let Some(entry) = entry(row, &table, now)? else { continue };
            if !self.query.filter.matches(entry.scope.as_deref(), &entry.record) {
                continue;
            }
            if self.entries.len() >= self.limit || self.bytes >= PAGE_BYTES {
                return Ok(Chunk::PageFull(self.last.take()));
            }
            self.push(entry, &table);
        }
        Ok(Chunk::Read(Some(table.after(end))))
    }

    fn push(&mut self, entry: Entry, table: &Table) {
        let record = &entry.record;
        self.bytes += record.outcome.as_ref().or(record.progress.as_ref()).map_or(0, Bytes::len)
            + record.reason.as_ref().map_or(0, String::len);
        self.last = Some(table.after(entry.digest.to_vec()));
        self.entries.push(entry);
    }

    /// The last key of the chunk after a key of the table, `None` if no record follows; and the number of its records.
    fn chunk_end(&self, records: &Records<'_>, part: &Part, after: &[u8]) -> Result<(Option<Vec<u8>>, u32)> {
        let Part { source, condition } = part;
        let sql = format!(
            "SELECT max(key), count(*) FROM (SELECT key FROM {source} WHERE {condition} AND key > ?1 \
             AND (?5 IS NULL OR ?5 IS NOT NULL) ORDER BY key LIMIT ?2)"
        );
        let scope = &self.query.filter.scope;
        records
            .conn
            .prepare_cached(&sql)
            .and_then(|mut s| {
                let values = params![after, CHUNK, Option::<i64>::None, Option::<i64>::None, scope];
                s.query_row(values, |row| Ok((row.get(0)?, row.get(1)?)))
            })
            .map_err(reading)
    }
}

/// The public entry for a row; `None` if it has expired.
fn entry(row: &Row<'_>, table: &Table, now: u64) -> Result<Option<Entry>> {
    let Columns { decoded, record_key, scope, id } = Columns::of(row, table, now)?;
    let entry = entry_of(decoded, record_key, scope, id.map(Bytes::from), now);
    // After the clock was set back it ends sooner than its column says.
    Ok(Some(entry).filter(|entry| !entry.expires_in.is_zero()))
}

/// The entry of a record with its names.
pub(super) fn entry_of(
    decoded: Decoded,
    record_key: Vec<u8>,
    scope: Option<String>,
    id: Option<Bytes>,
    now: u64,
) -> Entry {
    let record = decoded.row;
    Entry {
        digest: record_key.into(),
        scope,
        id,
        expires_in: Duration::from_micros(record.expires.saturating_sub(now)),
        free_in: record.free_in(now),
        record: record.record(now),
    }
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
