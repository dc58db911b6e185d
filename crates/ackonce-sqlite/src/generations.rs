//! Settled records, in generations: a table each, filled one after another and dropped whole.
//!
//! Inserting random names into one table slows down as it grows, and deleting from it costs as much as inserting.
//! A generation is sealed while it is small; then it takes no further record, and a [`Filter`] answers for it.
//! Records are put together by how long they are remembered, so that none waits for a neighbour with a
//! longer window when its generation could go.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use ackonce::Result;
use rusqlite::{Connection, OptionalExtension, params};

use crate::error::{corrupt_row, rolled_back};
use crate::filed::Filed;
use crate::filter::{self, Filter, Probe};
use crate::generation::{Generation, Shape, bound};
use crate::schema;
use crate::shelf::Shelves;

/// Where filters are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    /// For a connection that is used again and again.
    InMemory,
    /// For one that asks for a record or two.
    InFile,
}

/// All generations there are, by age, as of a number that grows with every change to them.
#[derive(Debug)]
pub(crate) struct Generations {
    as_of: i64,
    pub(crate) all: Vec<Generation>,
    filters: Filters,
    shelves: Shelves,
    /// Whether the transaction that goes on has changed them.
    changed: bool,
}

impl Generations {
    pub(crate) fn new(filters: Filters) -> Self {
        Self { as_of: 0, all: Vec::new(), filters, shelves: Shelves::default(), changed: false }
    }

    /// The transaction was undone, and with it what it changed.
    pub(crate) fn undone(&mut self) {
        if self.changed {
            *self = Self::new(self.filters);
        }
    }

    /// What the file says now. Filters that are known already are not read again: a sealed generation does not
    /// change and its number is not given twice.
    pub(crate) fn refresh(&mut self, conn: &Connection) -> Result<()> {
        let as_of: Option<i64> = conn
            .prepare_cached("SELECT value FROM main.ackonce_meta WHERE name = 'generations'")
            .and_then(|mut s| s.query_row([], |r| r.get(0)).optional())
            .map_err(|e| rolled_back("reading the generations", e))?;
        let as_of = as_of.ok_or_else(|| corrupt_row("number of generations", "missing"))?;
        self.changed = false;
        if as_of == self.as_of {
            return Ok(());
        }
        self.all = list(conn).map_err(|e| rolled_back("reading the generations", e))?;
        // Until it is done, what is listed is not to be taken for complete.
        self.as_of = 0;
        if self.filters == Filters::InMemory {
            self.shelve(conn)?;
        }
        self.as_of = as_of;
        Ok(())
    }

    /// Has the filters of what is listed in memory, and no other.
    fn shelve(&mut self, conn: &Connection) -> Result<()> {
        for known in self.shelves.generations() {
            match self.all.iter_mut().find(|g| g.id == known) {
                Some(generation) => generation.shelved = true,
                None => self.shelves.remove(known),
            }
        }
        let mut missing = BTreeMap::<u32, Vec<i64>>::new();
        for generation in self.all.iter_mut().filter(|g| !g.shelved) {
            if let Some(level) = generation.level {
                missing.entry(level).or_default().push(generation.id);
                generation.shelved = true;
            }
        }
        for (level, generations) in missing {
            for (generation, filter) in generations.iter().zip(Filter::read(conn, level, &generations)?) {
                self.shelves.put(*generation, &filter);
            }
        }
        Ok(())
    }

    /// The generations to look into, the latest first, each with those of the names it may hold.
    pub(crate) fn worth_a_look(
        &self,
        conn: &Connection,
        names: &[usize],
        probes: &[Probe],
    ) -> Result<Vec<(&Generation, Vec<usize>)>> {
        let mut held = self.shelves.ask(names, probes);
        let denied = match self.filters {
            Filters::InMemory => HashSet::new(),
            Filters::InFile => self.denied(conn, names, probes)?,
        };
        let mut worth = Vec::new();
        for generation in self.all.iter().rev() {
            let names: Vec<_> = match generation.shelved {
                true => held.remove(&generation.id).unwrap_or_default(),
                false => names.iter().copied().filter(|n| !denied.contains(&(generation.id, *n))).collect(),
            };
            if !names.is_empty() {
                worth.push((generation, names));
            }
        }
        Ok(worth)
    }

    /// The names, by their numbers, that the filters in the file say a generation does not hold.
    fn denied(&self, conn: &Connection, names: &[usize], probes: &[Probe]) -> Result<HashSet<(i64, usize)>> {
        let levels: BTreeSet<u32> = self.all.iter().filter_map(|g| g.level).collect();
        let mut denied = HashSet::new();
        for (level, name) in levels.into_iter().flat_map(|level| names.iter().map(move |n| (level, *n))) {
            let by = filter::denied(conn, level, &probes[name])?;
            denied.extend(by.into_iter().map(|generation| (generation, name)));
        }
        Ok(denied)
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
        let level = filter.level();
        let rows = i64::try_from(names.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE main.ackonce_generations SET sealed = 1, rows = ?2, ends = ?3, last_fence = ?4, \
                   level = ?5 WHERE id = ?1";
        conn.prepare_cached(sql)
            .and_then(|mut s| s.execute(params![id, rows, sealed.ends, sealed.last_fence, level]))
            .and_then(|_| filter.write(conn, id))
            .map_err(|e| rolled_back("sealing a generation", e))?;
        self.count_on(conn)?;
        (sealed.sealed, sealed.level) = (true, Some(level));
        if self.filters == Filters::InMemory {
            self.shelves.put(id, &filter);
            sealed.shelved = true;
        }
        self.all[at] = sealed;
        Ok(())
    }

    /// Drops a sealed one with its records; how many those were.
    fn drop(&mut self, conn: &Connection, id: i64) -> Result<u64> {
        let Some(at) = self.all.iter().position(|g| g.id == id) else { return Ok(0) };
        let gone = &self.all[at];
        let drop = || -> rusqlite::Result<i64> {
            let rows = conn
                .prepare_cached("DELETE FROM main.ackonce_generations WHERE id = ?1 RETURNING rows")?
                .query_row([id], |r| r.get(0))?;
            conn.execute_batch(&format!("DROP TABLE {}", gone.table()))?;
            gone.level.map_or(Ok(()), |level| Filter::delete(conn, id, level))?;
            Ok(rows)
        };
        let rows = drop().map_err(|e| rolled_back("dropping a generation", e))?;
        self.count_on(conn)?;
        self.all.remove(at);
        self.shelves.remove(id);
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

/// Makes the filters of all sealed ones anew, in a file of an earlier version.
pub(crate) fn filter_anew(conn: &Connection) -> rusqlite::Result<()> {
    for mut generation in list(conn)?.into_iter().filter(|g| g.sealed) {
        let filter = Filter::of(&survey(conn, &mut generation)?);
        filter.write(conn, generation.id)?;
        conn.prepare_cached("UPDATE main.ackonce_generations SET level = ?2 WHERE id = ?1")?
            .execute(params![generation.id, filter.level()])?;
    }
    Ok(())
}

fn list(conn: &Connection) -> rusqlite::Result<Vec<Generation>> {
    let sql = "SELECT id, shape, bound, opened, life, ends, last_fence, sealed, level \
               FROM main.ackonce_generations ORDER BY id";
    let mut statement = conn.prepare_cached(sql)?;
    statement.query_map([], Generation::of)?.collect()
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
