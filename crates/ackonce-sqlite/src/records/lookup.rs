//! Lookups of records: all record keys of a batch at once, one table after another.
//!
//! A table's filter, its upper pages and its statement then stay in the processor's cache for all keys. A loop over
//! the keys would go through every filter and a different table for each, and miss the cache each time.

use ackonce::protocol::Row;
use ackonce::store::Token;
use ackonce::{Error, Result};
use rusqlite::OptionalExtension;

use super::Records;
use super::columns::{Brief, Decoded, Full, Shape};
use super::filter::Probe;
use super::key::RecordKey;
use super::statements::SELECT_CLAIM;
use crate::error::{is_of_row, rolled_back};

/// The location of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location {
    Claims,
    Generation(i64),
}

/// A record and its location.
pub(crate) struct Found {
    pub(crate) row: Row,
    /// True if its moments were moved back; the record must then be written.
    pub(crate) shifted: bool,
    pub(crate) location: Location,
}

/// A record key and the token of the caller: a brief record stores only a part of its own.
pub(crate) type LookupKey = (RecordKey, Option<Token>);

impl Records<'_> {
    /// The record of that key, expired or not, as read by a caller with that token.
    pub(crate) fn lookup(
        &self,
        record_key: &RecordKey,
        token: Option<Token>,
        now: u64,
    ) -> Result<Option<Found>> {
        self.lookup_all(&[(*record_key, token)], now)?.pop().flatten().transpose()
    }

    /// The records of those keys, in their order; a record that cannot be read is an error of its own key. Sorted keys read
    /// each table from one end to the other.
    pub(crate) fn lookup_all(&self, keys: &[LookupKey], now: u64) -> Result<Vec<Option<Result<Found>>>> {
        let mut found: Vec<_> = keys.iter().map(|_| None).collect();
        let mut left: Vec<_> = (0..keys.len()).collect();
        self.lookup_in(SELECT_CLAIM, &left, keys, Full::of, |n, full| {
            found[n] = Some(full.and_then(|full| found_at(Location::Claims, full.decode(now))));
        })?;
        left.retain(|n| found[*n].is_none());

        if left.is_empty() {
            return Ok(found);
        }
        let probes: Vec<_> = keys.iter().map(|(record_key, _)| Probe::of(record_key)).collect();
        // Most duplicates come soon, so the latest generations are first.
        let cache = self.cache.borrow();
        for (generation, mut candidates) in cache.generations.candidates(self.conn, &left, &probes)? {
            candidates.retain(|n| found[*n].is_none());
            let (sql, location) = (generation.select(), Location::Generation(generation.id));
            match generation.shape {
                Shape::Brief => self.lookup_in(&sql, &candidates, keys, Brief::of, |n, brief| {
                    let bases = (generation.opened, generation.life);
                    let decode = |brief: Brief| found_at(location, brief.decode(bases, keys[n].1, now));
                    found[n] = Some(brief.and_then(decode));
                }),
                Shape::Full => self.lookup_in(&sql, &candidates, keys, Full::of, |n, full| {
                    found[n] = Some(full.and_then(|full| found_at(location, full.decode(now))));
                }),
            }?;
        }
        Ok(found)
    }

    /// The claim of that key.
    pub(crate) fn lookup_claim(&self, record_key: &RecordKey, now: u64) -> Result<Option<Row>> {
        let mut claim = None;
        self.lookup_in(SELECT_CLAIM, &[0], &[(*record_key, None)], Full::of, |_, full| {
            claim = Some(full.and_then(|full| Ok(full.decode(now)?.row)));
        })?;
        claim.transpose()
    }

    /// Looks some of the keys, given by index, up in one table. Columns of a type that no version wrote are an error of
    /// their record.
    fn lookup_in<C>(
        &self,
        sql: &str,
        indexes: &[usize],
        keys: &[LookupKey],
        columns: fn(&rusqlite::Row<'_>) -> rusqlite::Result<C>,
        mut found: impl FnMut(usize, Result<C>),
    ) -> Result<()> {
        if indexes.is_empty() {
            return Ok(());
        }
        let mut statement = self.conn.prepare_cached(sql).map_err(reading)?;
        for &n in indexes {
            match statement.query_row([&keys[n].0], columns).optional().map_err(reading) {
                Ok(row) => row.into_iter().for_each(|row| found(n, Ok(row))),
                Err(error) if is_of_row(&error) => found(n, Err(error)),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn found_at(location: Location, decoded: Result<Decoded>) -> Result<Found> {
    decoded.map(|decoded| Found { row: decoded.row, shifted: decoded.shifted, location })
}

fn reading(error: rusqlite::Error) -> Error {
    rolled_back("reading a record", error)
}
