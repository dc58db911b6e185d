//! The number of records by scope and state.

use std::collections::BTreeMap;

use ackonce::store::{ScopeStats, State};
use ackonce::{Error, Result};
use rusqlite::{Row, params};

use super::CHUNK;
use crate::connection::reader::Inspection;
use crate::error::rolled_back;
use crate::records::Records;
use crate::records::columns::state_of;
use crate::records::cursor::{Cursor, Table};

/// The counts of each scope; `None` for records without names.
#[derive(Default)]
struct Counts(BTreeMap<Option<String>, ScopeStats>);

impl Counts {
    fn add(&mut self, scope: Option<String>, state: State, records: u64) {
        let stats = self.0.entry(scope.clone());
        stats.or_insert_with(|| ScopeStats { scope, ..ScopeStats::default() }).add(state, records);
    }
}

/// Counts all records; those that come or go meanwhile may or may not be counted.
pub(super) fn count(inspection: &Inspection<'_>) -> Result<Vec<ScopeStats>> {
    let mut counts = Counts::default();
    let mut next = Some(Cursor::START);
    while let Some(cursor) = next.take().filter(|_| !inspection.is_abandoned()) {
        next = inspection.in_snapshot(|records, _| count_chunk(records, &cursor, &mut counts))?;
    }
    Ok(counts.0.into_values().collect())
}

/// Counts the records of one chunk; returns the position to continue from.
fn count_chunk(records: &Records<'_>, cursor: &Cursor, counts: &mut Counts) -> Result<Option<Cursor>> {
    let (table, after) = records.table_at(cursor)?;
    // The count of a sealed generation is stored.
    if let Some(sealed) = table.brief().filter(|g| g.sealed) {
        let rows: i64 = records
            .conn
            .prepare_cached("SELECT rows FROM main.ackonce_generations WHERE id = ?1")
            .and_then(|mut s| s.query_row([sealed.id], |r| r.get(0)))
            .map_err(reading)?;
        counts.add(None, State::Done, rows.unsigned_abs());
        return Ok(table.end());
    }
    let groups = groups(records, &table, after).map_err(reading)?;
    let end = groups.iter().map(|group| &group.last).max().map(|last| table.after(last.clone()));
    for Group { scope, state, records, .. } in groups {
        counts.add(scope, state_of(state)?, records);
    }
    Ok(end.or_else(|| table.end()))
}

/// The records of one scope and state in a chunk.
struct Group {
    last: Vec<u8>,
    scope: Option<String>,
    state: i64,
    records: u64,
}

fn groups(records: &Records<'_>, table: &Table, after: &[u8]) -> rusqlite::Result<Vec<Group>> {
    let (name, columns) = match table.brief() {
        Some(_) => (&table.name, "NULL AS scope, 0 AS state"),
        None => (&table.name, "scope, state"),
    };
    let sql = format!(
        "SELECT max(key), scope, state, count(*) FROM \
         (SELECT key, {columns} FROM {name} WHERE key > ?1 ORDER BY key LIMIT ?2) GROUP BY scope, state"
    );
    let group = |row: &Row<'_>| {
        let records = row.get::<_, i64>(3)?.unsigned_abs();
        Ok(Group { last: row.get(0)?, scope: row.get(1)?, state: row.get(2)?, records })
    };
    records.conn.prepare_cached(&sql)?.query_map(params![after, CHUNK], group)?.collect()
}

fn reading(error: rusqlite::Error) -> Error {
    rolled_back("counting the records", error)
}
