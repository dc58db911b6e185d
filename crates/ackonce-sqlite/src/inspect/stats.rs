//! The number of records in each state.

use ackonce::store::Stats;
use ackonce::{Error, Result};
use rusqlite::{Row, params};

use super::CHUNK;
use crate::connection::reader::Inspection;
use crate::error::rolled_back;
use crate::records::Records;
use crate::records::cursor::Cursor;

/// Counts all records; those that come or go meanwhile may or may not be counted.
pub(super) fn count(inspection: &Inspection<'_>) -> Result<Stats> {
    let mut stats = Stats::default();
    let mut next = Some(Cursor::START);
    while let Some(cursor) = next.take().filter(|_| !inspection.is_abandoned()) {
        let ([done, claimed, released, buried], after) =
            inspection.in_snapshot(|records, _| count_chunk(records, &cursor))?;
        stats.done += done;
        stats.claimed += claimed;
        stats.released += released;
        stats.buried += buried;
        next = after;
    }
    Ok(stats)
}

/// Counts the done, claimed, released and buried records of one chunk; returns them with the position to continue
/// from.
fn count_chunk(records: &Records<'_>, cursor: &Cursor) -> Result<([u64; 4], Option<Cursor>)> {
    let (table, after) = records.table_at(cursor)?;
    // The count of a sealed generation is stored.
    if let Some(sealed) = table.brief().filter(|g| g.sealed) {
        let rows: i64 = records
            .conn
            .prepare_cached("SELECT rows FROM main.ackonce_generations WHERE id = ?1")
            .and_then(|mut s| s.query_row([sealed.id], |r| r.get(0)))
            .map_err(reading)?;
        return Ok(([rows.unsigned_abs(), 0, 0, 0], table.end()));
    }
    let (name, state) = (&table.name, if table.brief().is_some() { "0 AS state" } else { "state" });
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
    rolled_back("counting the records", error)
}
