//! Settled records, in generations: a table each, filled one after another and dropped whole.
//!
//! Inserting random names into one table slows down as it grows, and deleting from it costs as much as inserting.
//! A generation is sealed while it is small; then it takes no further record, and a [`Filter`] answers for it.
//! Records are put together by how long they are remembered, so that none waits for a neighbour with a
//! longer window when its generation could go.

use std::sync::Arc;

use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::columns::{brief, full};
use crate::error::{corrupt_row, rolled_back};
use crate::filed::Filed;
use crate::filter::{Filter, Probe};
use crate::schema;

/// A generation takes records for this part of its window, so that the first ones wait no longer for the last.
const PART: i64 = 8;
/// The shortest window that generations are made for, in microseconds: shorter ones share them.
const SHORTEST: i64 = 60_000_000;

/// How much the records of a generation tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Done at the first attempt, with nothing else to tell: most of them.
    Brief,
    /// Everything.
    Full,
}

/// One generation, as its row in `ackonce_generations` says.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    pub(crate) id: i64,
    pub(crate) shape: Shape,
    bound: i64,
    pub(crate) opened: i64,
    pub(crate) life: i64,
    ends: i64,
    last_fence: i64,
    pub(crate) sealed: bool,
    filter: Option<Arc<Filter>>,
    find: Arc<str>,
    insert: Arc<str>,
}

impl Generation {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let shape = if row.get::<_, i64>(1)? == 0 { Shape::Brief } else { Shape::Full };
        let generation = Self::new(row.get(0)?, shape, row.get(2)?, row.get(3)?, row.get(4)?);
        let sealed = row.get::<_, i64>(7)? != 0;
        Ok(Self { ends: row.get(5)?, last_fence: row.get(6)?, sealed, ..generation })
    }

    fn new(id: i64, shape: Shape, bound: i64, opened: i64, life: i64) -> Self {
        let table = table(id, shape);
        let (find, insert) = match shape {
            Shape::Brief => (
                format!(concat!("SELECT ", brief!(), " FROM {} WHERE key = ?1"), table),
                format!(
                    "INSERT INTO {table} (fence, life, token, fingerprint, key) VALUES (?1, ?2, ?3, ?4, ?5)"
                ),
            ),
            Shape::Full => (
                format!(concat!("SELECT ", full!(), " FROM {} WHERE key = ?1"), table),
                crate::rows::insert_full(&table),
            ),
        };
        let ends = opened.saturating_add(bound / PART).saturating_add(bound);
        let (find, insert) = (find.into(), insert.into());
        Self {
            id,
            shape,
            bound,
            opened,
            life,
            ends,
            last_fence: 0,
            sealed: false,
            filter: None,
            find,
            insert,
        }
    }

    pub(crate) fn table(&self) -> String {
        table(self.id, self.shape)
    }

    /// Its statement that reads a record.
    pub(crate) fn find(&self) -> &str {
        &self.find
    }

    /// Its statement that adds one.
    pub(crate) fn insert(&self) -> &str {
        &self.insert
    }

    /// Whether a look into its table is worth it. Without a filter it is.
    pub(crate) fn may_hold(&self, probe: &Probe) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.may_hold(probe))
    }

    /// Whether nothing in it is remembered any more. While the clock has not passed a fence (it was set back) it
    /// stays: the next one must be larger.
    fn is_over(&self, now: i64) -> bool {
        self.ends <= now && self.last_fence < now
    }

    /// Whether it has taken records for long enough, or the clock was set back.
    fn is_old(&self, now: i64) -> bool {
        now.abs_diff(self.opened) >= self.bound.unsigned_abs() / PART.unsigned_abs()
    }
}

fn table(id: i64, shape: Shape) -> String {
    match shape {
        Shape::Brief => format!("main.ackonce_brief_{id}"),
        Shape::Full => format!("main.ackonce_full_{id}"),
    }
}

/// The window that a generation for this one is made for: at most a quarter longer.
fn bound(window: i64) -> i64 {
    let window = window.max(SHORTEST);
    let step = 1 << (window.ilog2() - 2);
    // Nothing is left over where adding would overflow.
    window.checked_add(step - 1).map_or(i64::MAX, |above| above / step * step)
}

/// Whether the filters are worth reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    /// For a connection that is used again and again.
    Read,
    /// For one that is asked once: the tables answer as well.
    Ignore,
}

/// All generations there are, by age, as of a number that grows with every change to them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Generations {
    as_of: i64,
    pub(crate) all: Vec<Generation>,
    /// Whether the transaction that goes on has changed them.
    pub(crate) changed: bool,
}

impl Generations {
    /// What the file says now. Filters that are known already are not read again: a sealed generation does not
    /// change and its number is not given twice.
    pub(crate) fn refresh(&mut self, conn: &Connection, filters: Filters) -> Result<()> {
        let as_of: Option<i64> = conn
            .prepare_cached("SELECT value FROM main.ackonce_meta WHERE name = 'generations'")
            .and_then(|mut s| s.query_row([], |r| r.get(0)).optional())
            .map_err(|e| rolled_back("reading the generations", e))?;
        let as_of = as_of.ok_or_else(|| corrupt_row("number of generations", "missing"))?;
        self.changed = false;
        if as_of == self.as_of {
            return Ok(());
        }
        let mut all = list(conn).map_err(|e| rolled_back("reading the generations", e))?;
        for generation in all.iter_mut().filter(|g| g.sealed && filters == Filters::Read) {
            let known = self.all.iter().find(|g| g.id == generation.id).and_then(|g| g.filter.clone());
            generation.filter = Some(known.map_or_else(|| read_filter(conn, generation.id), Ok)?);
        }
        *self = Self { as_of, all, changed: false };
        Ok(())
    }

    /// The one that takes a record of that shape and window now; opened if need be, for records that live as long
    /// as this one.
    pub(crate) fn taking(
        &mut self,
        conn: &Connection,
        shape: Shape,
        (window, life): (i64, i64),
        now: i64,
    ) -> Result<Generation> {
        let bound = bound(window);
        let open = self.all.iter().rev().find(|g| !g.sealed && g.shape == shape && g.bound == bound).cloned();
        match open {
            Some(generation) if !generation.is_old(now) => Ok(generation),
            Some(old) => {
                self.seal(conn, old.id)?;
                self.open(conn, shape, bound, life, now)
            }
            None => self.open(conn, shape, bound, life, now),
        }
    }

    fn open(
        &mut self,
        conn: &Connection,
        shape: Shape,
        bound: i64,
        life: i64,
        now: i64,
    ) -> Result<Generation> {
        let id = self.count_on(conn)?;
        let new = Generation::new(id, shape, bound, now, life);
        let columns = match shape {
            Shape::Brief => schema::BRIEF,
            Shape::Full => schema::FULL,
        };
        let code = i64::from(shape == Shape::Full);
        conn.prepare_cached(
            "INSERT INTO main.ackonce_generations (id, shape, bound, opened, life, ends, last_fence, rows, sealed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0)",
        )
        .and_then(|mut s| s.execute(params![id, code, bound, now, life, new.ends]))
        .and_then(|_| conn.execute_batch(&format!("CREATE TABLE {} {columns}", new.table())))
        .map_err(|e| rolled_back("opening a generation", e))?;
        self.all.push(new.clone());
        Ok(new)
    }

    /// Counts about `rows` more records in, and seals the generation once it holds `most`.
    pub(crate) fn grown(&mut self, conn: &Connection, id: i64, rows: i64, most: i64) -> Result<()> {
        let sql = "UPDATE main.ackonce_generations SET rows = rows + ?2 WHERE id = ?1 RETURNING rows";
        let holds: i64 = conn
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row([id, rows], |r| r.get(0)))
            .map_err(|e| rolled_back("counting records", e))?;
        if holds >= most { self.seal(conn, id) } else { Ok(()) }
    }

    /// Counts records out that were deleted from it.
    pub(crate) fn shrunk(&self, conn: &Connection, id: i64, rows: i64) -> Result<()> {
        conn.prepare_cached("UPDATE main.ackonce_generations SET rows = rows - ?2 WHERE id = ?1")
            .and_then(|mut s| s.execute([id, rows]))
            .map_err(|e| rolled_back("counting records", e))?;
        Ok(())
    }

    /// Ends it for new records and makes its filter. One pass over its keys, so it is kept small.
    fn seal(&mut self, conn: &Connection, id: i64) -> Result<()> {
        let Some(at) = self.all.iter().position(|g| g.id == id && !g.sealed) else { return Ok(()) };
        let mut sealed = self.all[at].clone();
        let names = survey(conn, &mut sealed).map_err(|e| rolled_back("sealing a generation", e))?;
        let filter = Filter::of(&names);
        let rows = i64::try_from(names.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE main.ackonce_generations SET sealed = 1, rows = ?2, ends = ?3, last_fence = ?4, \
                   filter = ?5 WHERE id = ?1";
        conn.prepare_cached(sql)
            .and_then(|mut s| s.execute(params![id, rows, sealed.ends, sealed.last_fence, filter.to_bytes()]))
            .map_err(|e| rolled_back("sealing a generation", e))?;
        self.count_on(conn)?;
        (sealed.sealed, sealed.filter) = (true, Some(Arc::new(filter)));
        self.all[at] = sealed;
        Ok(())
    }

    /// Drops a sealed one with its records; how many those were.
    fn drop(&mut self, conn: &Connection, id: i64) -> Result<u64> {
        let Some(at) = self.all.iter().position(|g| g.id == id) else { return Ok(0) };
        let rows: i64 = conn
            .prepare_cached("DELETE FROM main.ackonce_generations WHERE id = ?1 RETURNING rows")
            .and_then(|mut s| s.query_row([id], |r| r.get(0)))
            .and_then(|rows| {
                conn.execute_batch(&format!("DROP TABLE {}", self.all[at].table())).map(|()| rows)
            })
            .map_err(|e| rolled_back("dropping a generation", e))?;
        self.count_on(conn)?;
        self.all.remove(at);
        Ok(rows.unsigned_abs())
    }

    /// Drops that one if all of it has expired.
    pub(crate) fn drop_if_over(&mut self, conn: &Connection, id: i64, now: i64) -> Result<Option<u64>> {
        // What an open one holds is known when it is sealed.
        if self.all.iter().any(|g| g.id == id && !g.sealed && g.ends <= now) {
            self.seal(conn, id)?;
        }
        match self.all.iter().any(|g| g.id == id && g.sealed && g.is_over(now)) {
            true => self.drop(conn, id).map(Some),
            false => Ok(None),
        }
    }

    /// Drops the oldest one of which all has expired, if there is one.
    pub(crate) fn drop_oldest(&mut self, conn: &Connection, now: i64) -> Result<()> {
        match self.all.iter().find(|g| g.is_over(now)).map(|g| g.id) {
            Some(id) => self.drop_if_over(conn, id, now).map(drop),
            None => Ok(()),
        }
    }

    /// The next number; whoever knows an earlier one looks again.
    fn count_on(&mut self, conn: &Connection) -> Result<i64> {
        let sql = "UPDATE main.ackonce_meta SET value = value + 1 WHERE name = 'generations' RETURNING value";
        self.as_of = conn
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row([], |r| r.get(0)))
            .map_err(|e| rolled_back("counting generations", e))?;
        self.changed = true;
        Ok(self.as_of)
    }
}

fn list(conn: &Connection) -> rusqlite::Result<Vec<Generation>> {
    let sql = "SELECT id, shape, bound, opened, life, ends, last_fence, sealed \
               FROM main.ackonce_generations ORDER BY id";
    let mut statement = conn.prepare_cached(sql)?;
    statement.query_map([], Generation::of)?.collect()
}

fn read_filter(conn: &Connection, id: i64) -> Result<Arc<Filter>> {
    let bytes: Vec<u8> = conn
        .prepare_cached("SELECT filter FROM main.ackonce_generations WHERE id = ?1")
        .and_then(|mut s| s.query_row([id], |r| r.get(0)))
        .map_err(|e| rolled_back("reading a filter", e))?;
    let filter = Filter::from_bytes(&bytes).ok_or_else(|| {
        Error::new(
            ErrorKind::Corrupt,
            format!("sqlite: a filter of {} bytes, which is not possible", bytes.len()),
        )
    })?;
    Ok(Arc::new(filter))
}

/// The names in it; when its last record ends and what its highest fence is.
fn survey(conn: &Connection, generation: &mut Generation) -> rusqlite::Result<Vec<Filed>> {
    let (fence, expires) = match generation.shape {
        Shape::Brief => ("fence", "fence + life"),
        Shape::Full => ("fence", "expires"),
    };
    let (table, mut names) = (generation.table(), Vec::new());
    let (mut last_fence, mut ends) = (0, 0);
    let mut statement = conn.prepare(&format!("SELECT key, {fence}, {expires} FROM {table}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        names.push(row.get(0)?);
        last_fence = row.get::<_, i64>(1)?.max(last_fence);
        ends = row.get::<_, i64>(2)?.max(ends);
    }
    if generation.shape == Shape::Brief {
        last_fence = last_fence.saturating_add(generation.opened);
        ends = ends.saturating_add(generation.opened).saturating_add(generation.life);
    }
    (generation.last_fence, generation.ends) = (last_fence, ends);
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_no_shorter_than_the_window_and_little_longer() {
        let windows = (0..63).flat_map(|n| [(1_i64 << n) - 1, 1 << n, (1 << n) + 1, (1 << n) / 3 * 5]);
        for window in windows.chain([i64::MAX]).filter(|w| *w > SHORTEST) {
            let bound = bound(window);
            assert!(bound >= window && bound - window <= window / 4, "{window}: {bound}");
            assert_eq!(super::bound(bound), bound, "{window}");
        }
        assert_eq!(bound(-5), bound(0));
    }
}
