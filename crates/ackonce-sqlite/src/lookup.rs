//! Lookups of records by their names: all names of a batch at once, one table after another.
//!
//! A table's filter, its upper pages and its statement then stay in the processor's cache for all names. A loop over
//! the names would go through every filter and a different table for each, and miss the cache each time.

use ackonce::protocol::Row;
use ackonce::store::Token;
use ackonce::{Error, Result};
use rusqlite::OptionalExtension;

use crate::columns::{Brief, Full, Seen, full};
use crate::error::rolled_back;
use crate::filter::Probe;
use crate::generation::Shape;
use crate::record_key::RecordKey;
use crate::records::Records;

const FIND_CLAIM: &str = concat!("SELECT ", full!(), " FROM main.ackonce_claims WHERE key = ?1");

/// The location of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    Claims,
    Generation(i64),
}

/// A record and its location.
pub(crate) struct Found {
    pub(crate) row: Row,
    /// True if its moments were moved back; the record must then be written.
    pub(crate) moved: bool,
    pub(crate) home: Home,
}

/// A name and the token of the caller: a brief record stores only a part of its own.
pub(crate) type Sought = (RecordKey, Option<Token>);

impl Records<'_> {
    /// The record of that name, expired or not, as read by a caller with that token.
    pub(crate) fn lookup(&self, name: &RecordKey, token: Option<Token>, now: u64) -> Result<Option<Found>> {
        Ok(self.lookup_all(&[(*name, token)], now)?.pop().flatten())
    }

    /// The records of those names, in their order. Sorted names read each table from one end to the other.
    pub(crate) fn lookup_all(&self, sought: &[Sought], now: u64) -> Result<Vec<Option<Found>>> {
        let mut found: Vec<_> = sought.iter().map(|_| None).collect();
        let mut left: Vec<_> = (0..sought.len()).collect();
        self.ask(FIND_CLAIM, &left, sought, Full::of, |n, full| {
            found[n] = Some(at(Home::Claims, full.decode(now)?));
            Ok(())
        })?;
        left.retain(|n| found[*n].is_none());

        if left.is_empty() {
            return Ok(found);
        }
        let probes: Vec<_> = sought.iter().map(|(name, _)| Probe::of(name)).collect();
        // Most duplicates come soon, so the latest generations are first.
        let known = self.known.borrow();
        for (generation, mut asked) in known.generations.candidates(self.conn, &left, &probes)? {
            asked.retain(|n| found[*n].is_none());
            let (sql, home) = (generation.select(), Home::Generation(generation.id));
            match generation.shape {
                Shape::Brief => self.ask(&sql, &asked, sought, Brief::of, |n, brief| {
                    found[n] = Some(at(home, brief.decode(generation, sought[n].1, now)?));
                    Ok(())
                }),
                Shape::Full => self.ask(&sql, &asked, sought, Full::of, |n, full| {
                    found[n] = Some(at(home, full.decode(now)?));
                    Ok(())
                }),
            }?;
        }
        Ok(found)
    }

    /// The claim of that name.
    pub(crate) fn lookup_claim(&self, name: &RecordKey, now: u64) -> Result<Option<Row>> {
        let mut claim = None;
        self.ask(FIND_CLAIM, &[0], &[(*name, None)], Full::of, |_, full| {
            claim = Some(full.decode(now)?.row);
            Ok(())
        })?;
        Ok(claim)
    }

    /// Looks some of the names, given by index, up in one table.
    fn ask<C>(
        &self,
        sql: &str,
        numbers: &[usize],
        sought: &[Sought],
        columns: fn(&rusqlite::Row<'_>) -> rusqlite::Result<C>,
        mut found: impl FnMut(usize, C) -> Result<()>,
    ) -> Result<()> {
        if numbers.is_empty() {
            return Ok(());
        }
        let mut statement = self.conn.prepare_cached(sql).map_err(reading)?;
        for &n in numbers {
            let row = statement.query_row([&sought[n].0], columns).optional().map_err(reading)?;
            row.map_or(Ok(()), |row| found(n, row))?;
        }
        Ok(())
    }
}

fn at(home: Home, seen: Seen) -> Found {
    Found { row: seen.row, moved: seen.moved, home }
}

fn reading(error: rusqlite::Error) -> Error {
    rolled_back("reading a record", error)
}
