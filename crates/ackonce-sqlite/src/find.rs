//! Records looked up by their names: those of a batch at once, one table after another.
//!
//! A table's filter, its upper pages and its statement then serve all names while the processor has them at hand.
//! Name by name, each would ask every filter and a table of its own, and find none of them there.

use ackonce::protocol::Row;
use ackonce::store::Token;
use ackonce::{Error, Result};
use rusqlite::OptionalExtension;

use crate::columns::{Brief, Full, Seen, full};
use crate::error::rolled_back;
use crate::filed::Filed;
use crate::filter::Probe;
use crate::generation::Shape;
use crate::rows::Records;

const FIND_CLAIM: &str = concat!("SELECT ", full!(), " FROM main.ackonce_claims WHERE key = ?1");

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Home {
    Claims,
    Generation(i64),
}

/// A record, and where it was found.
pub(crate) struct Found {
    pub(crate) row: Row,
    /// Its moments were moved back; it must be written.
    pub(crate) moved: bool,
    pub(crate) home: Home,
}

/// A name, and the token of who asks: a brief record does not tell all of its own.
pub(crate) type Sought = (Filed, Option<Token>);

impl Records<'_> {
    /// The record of that name, whether it expired or not, as told to somebody with that token.
    pub(crate) fn find(&self, name: &Filed, token: Option<Token>, now: u64) -> Result<Option<Found>> {
        Ok(self.find_all(&[(*name, token)], now)?.pop().flatten())
    }

    /// The records of those names, in their order. Sorted names go through each table from one end to the other.
    pub(crate) fn find_all(&self, sought: &[Sought], now: u64) -> Result<Vec<Option<Found>>> {
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
        for (generation, mut asked) in known.generations.worth_a_look(self.conn, &left, &probes)? {
            asked.retain(|n| found[*n].is_none());
            let (sql, home) = (generation.find(), Home::Generation(generation.id));
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
    pub(crate) fn find_claim(&self, name: &Filed, now: u64) -> Result<Option<Row>> {
        let mut claim = None;
        self.ask(FIND_CLAIM, &[0], &[(*name, None)], Full::of, |_, full| {
            claim = Some(full.decode(now)?.row);
            Ok(())
        })?;
        Ok(claim)
    }

    /// Asks one table for some of the names, each by its number.
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
