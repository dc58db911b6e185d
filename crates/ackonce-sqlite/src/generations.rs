//! Settled records, in generations: a table each, filled one after another and dropped whole.
//!
//! Inserting random names into one table slows down as it grows, and deleting from it costs as much as inserting.
//! A generation is sealed while it is small; then it takes no further record, and a [`Filter`] answers for it.
//! Records are grouped by the length of their window, so that a generation is not kept for one record with a longer
//! window.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ackonce::Result;
use ackonce::store::Token;
use rusqlite::{Connection, params};

use crate::error::rolled_back;
use crate::filter::{self, Filter, Probe};
use crate::generation::{Generation, Shape, bound};
use crate::record_key::RecordKey;
use crate::schema::{self, Incarnation};

/// The place of the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filters {
    /// For a connection that is used again and again.
    InMemory,
    /// For a connection that looks up a record or two.
    InFile,
}

/// All generations, by age.
#[derive(Debug)]
pub(crate) struct Generations {
    /// The incarnation of the file that the list was read from. Each change writes a new one, so the incarnation of
    /// an undone transaction never appears again.
    as_of: Option<Incarnation>,
    pub(crate) all: Vec<Generation>,
    filters: Filters,
}

impl Generations {
    pub(crate) fn new(filters: Filters) -> Self {
        Self { as_of: None, all: Vec::new(), filters }
    }

    /// True if this was read from that incarnation of the file.
    pub(crate) fn are_of(&self, incarnation: &Incarnation) -> bool {
        self.as_of.as_ref() == Some(incarnation)
    }

    /// Reads the list anew. Filters in memory are not read again: the records of a sealed generation do not change,
    /// whichever backup contains it.
    pub(crate) fn read(&mut self, conn: &Connection, incarnation: Incarnation) -> Result<()> {
        // A failure half-way must not leave a partial list that passes for complete.
        self.as_of = None;
        let new = list(conn).map_err(|e| rolled_back("reading the generations", e))?;
        let known = std::mem::replace(&mut self.all, new);
        if self.filters == Filters::InMemory {
            self.filter(conn, known)?;
        }
        self.as_of = Some(incarnation);
        Ok(())
    }

    /// Gives the sealed generations their filters: from memory by their seals, and otherwise from the file.
    fn filter(&mut self, conn: &Connection, known: Vec<Generation>) -> Result<()> {
        let known = known.into_iter().filter_map(|g| g.seal.zip(g.filter));
        let mut known: HashMap<i64, Arc<Filter>> = known.collect();
        let mut missing = BTreeMap::<u32, Vec<&mut Generation>>::new();
        for generation in &mut self.all {
            let (Some(level), Some(seal)) = (generation.level, generation.seal) else { continue };
            generation.filter = known.remove(&seal);
            if generation.filter.is_none() {
                missing.entry(level).or_default().push(generation);
            }
        }
        for (level, generations) in missing {
            let ids: Vec<_> = generations.iter().map(|g| g.id).collect();
            for (generation, filter) in generations.into_iter().zip(Filter::read(conn, level, &ids)?) {
                generation.filter = Some(Arc::new(filter));
            }
        }
        Ok(())
    }

    /// The generations to read, the latest first, each with the names that it may hold.
    pub(crate) fn candidates(
        &self,
        conn: &Connection,
        names: &[usize],
        probes: &[Probe],
    ) -> Result<Vec<(&Generation, Vec<usize>)>> {
        let excluded = match self.filters {
            Filters::InMemory => HashSet::new(),
            Filters::InFile => self.excluded_by(conn, names, probes)?,
        };
        let mut candidates = Vec::new();
        for generation in self.all.iter().rev() {
            let may_hold = |n: &usize| match &generation.filter {
                Some(filter) => filter.may_hold(&probes[*n]),
                None => !excluded.contains(&(generation.id, *n)),
            };
            let names: Vec<_> = names.iter().copied().filter(may_hold).collect();
            if !names.is_empty() {
                candidates.push((generation, names));
            }
        }
        Ok(candidates)
    }

    /// The names, by index, that the filters in the file rule out for a generation.
    fn excluded_by(
        &self,
        conn: &Connection,
        names: &[usize],
        probes: &[Probe],
    ) -> Result<HashSet<(i64, usize)>> {
        let levels: BTreeSet<u32> = self.all.iter().filter_map(|g| g.level).collect();
        let mut excluded = HashSet::new();
        for (level, name) in levels.into_iter().flat_map(|level| names.iter().map(move |n| (level, *n))) {
            let by = filter::excluded_by(conn, level, &probes[name])?;
            excluded.extend(by.into_iter().map(|generation| (generation, name)));
        }
        Ok(excluded)
    }

    /// The open generation for a record of that shape and window. If there is none, opens one for records with the
    /// window of this one.
    pub(crate) fn open_for(
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
        let id = next_number(conn).map_err(|e| rolled_back("counting generations", e))?;
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
        self.renew(conn)?;
        Ok(new)
    }

    /// Adds about `rows` records to the count of a generation, and seals it once it holds `most`.
    pub(crate) fn grown(&mut self, conn: &Connection, id: i64, rows: i64, most: i64) -> Result<()> {
        let sql = "UPDATE main.ackonce_generations SET rows = rows + ?2 WHERE id = ?1 RETURNING rows";
        let holds: i64 = conn
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row([id, rows], |r| r.get(0)))
            .map_err(|e| rolled_back("counting records", e))?;
        if holds >= most { self.seal(conn, id) } else { Ok(()) }
    }

    /// Subtracts deleted records from the count of a generation.
    pub(crate) fn shrunk(&self, conn: &Connection, id: i64, rows: i64) -> Result<()> {
        conn.prepare_cached("UPDATE main.ackonce_generations SET rows = rows - ?2 WHERE id = ?1")
            .and_then(|mut s| s.execute([id, rows]))
            .map_err(|e| rolled_back("counting records", e))?;
        Ok(())
    }

    /// Closes it to new records and makes its filter. This is one pass over its keys, so generations are kept small.
    fn seal(&mut self, conn: &Connection, id: i64) -> Result<()> {
        let Some(at) = self.all.iter().position(|g| g.id == id && !g.sealed) else { return Ok(()) };
        let mut sealed = self.all[at].clone();
        let mut names = Vec::new();
        survey(conn, &mut sealed, |name| names.push(name))
            .map_err(|e| rolled_back("sealing a generation", e))?;
        let filter = Filter::of(&names);
        let (level, seal) = (filter.level(), new_seal());
        let rows = i64::try_from(names.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE main.ackonce_generations SET sealed = 1, rows = ?2, ends = ?3, last_fence = ?4, \
                   level = ?5, seal = ?6 WHERE id = ?1";
        conn.prepare_cached(sql)
            .and_then(|mut s| s.execute(params![id, rows, sealed.ends, sealed.last_fence, level, seal]))
            .and_then(|_| filter.write(conn, id))
            .map_err(|e| rolled_back("sealing a generation", e))?;
        (sealed.sealed, sealed.level, sealed.seal) = (true, Some(level), Some(seal));
        if self.filters == Filters::InMemory {
            sealed.filter = Some(Arc::new(filter));
        }
        self.all[at] = sealed;
        self.renew(conn)
    }

    /// Drops the generation at that index of the list; returns the number of its records.
    ///
    /// Its table goes first: its pages are then free for the other statements, even in a file that may not grow.
    fn drop(&mut self, conn: &Connection, at: usize) -> Result<u64> {
        let gone = &self.all[at];
        let drop = || -> rusqlite::Result<i64> {
            conn.execute_batch(&format!("DROP TABLE {}", gone.table()))?;
            gone.level.map_or(Ok(()), |level| Filter::delete(conn, gone.id, level))?;
            conn.prepare_cached("DELETE FROM main.ackonce_generations WHERE id = ?1 RETURNING rows")?
                .query_row([gone.id], |r| r.get(0))
        };
        let rows = drop().map_err(|e| rolled_back("dropping a generation", e))?;
        self.all.remove(at);
        self.renew(conn)?;
        Ok(rows.unsigned_abs())
    }

    /// Drops that generation if all its records have expired.
    pub(crate) fn drop_if_over(&mut self, conn: &Connection, id: i64, now: i64) -> Result<Option<u64>> {
        match self.all.iter().position(|g| g.id == id && g.is_over(now)) {
            Some(at) if self.all[at].sealed => self.drop(conn, at).map(Some),
            Some(at) => self.drop_open_if_over(conn, at, now),
            None => Ok(None),
        }
    }

    /// Drops an open generation if all its records have expired. Its highest fence is not stored, so its records are
    /// read. It is not sealed first: a filter needs pages, and a full file has none until this generation is gone.
    fn drop_open_if_over(&mut self, conn: &Connection, at: usize, now: i64) -> Result<Option<u64>> {
        let mut seen = self.all[at].clone();
        survey(conn, &mut seen, drop).map_err(|e| rolled_back("reading a generation", e))?;
        if seen.is_over(now) {
            return self.drop(conn, at).map(Some);
        }
        // No second pass before then.
        let ends = seen.ends.max(seen.last_fence.saturating_add(1));
        conn.prepare_cached("UPDATE main.ackonce_generations SET ends = ?2 WHERE id = ?1")
            .and_then(|mut s| s.execute([seen.id, ends]))
            .map_err(|e| rolled_back("keeping a generation", e))?;
        self.all[at].ends = ends;
        self.renew(conn)?;
        Ok(None)
    }

    /// The oldest generation, other than `but`, whose records have expired, or may have if it is open.
    pub(crate) fn over(&self, now: i64, but: Option<i64>) -> Option<i64> {
        self.all.iter().find(|g| g.is_over(now) && Some(g.id) != but).map(|g| g.id)
    }

    /// Makes every connection read the list again.
    fn renew(&mut self, conn: &Connection) -> Result<()> {
        self.as_of = Some(schema::renew(conn)?);
        Ok(())
    }
}

fn next_number(conn: &Connection) -> rusqlite::Result<i64> {
    let sql = "UPDATE main.ackonce_meta SET value = value + 1 WHERE name = 'generations' RETURNING value";
    conn.prepare_cached(sql)?.query_row([], |r| r.get(0))
}

fn new_seal() -> i64 {
    let mut seal = [0; 8];
    seal.copy_from_slice(&Token::random().0[..8]);
    i64::from_be_bytes(seal)
}

fn list(conn: &Connection) -> rusqlite::Result<Vec<Generation>> {
    let sql = "SELECT id, shape, bound, opened, life, ends, last_fence, sealed, level, seal \
               FROM main.ackonce_generations ORDER BY id";
    let mut statement = conn.prepare_cached(sql)?;
    statement.query_map([], Generation::of)?.collect()
}

/// Passes each name of a generation to `tell`, and sets its highest fence and the end of its last record.
fn survey(
    conn: &Connection,
    generation: &mut Generation,
    mut tell: impl FnMut(RecordKey),
) -> rusqlite::Result<()> {
    let (fence, expires) = match generation.shape {
        Shape::Brief => ("fence", "fence + life"),
        Shape::Full => ("fence", "expires"),
    };
    let table = generation.table();
    let (mut last_fence, mut ends) = (0, 0);
    let mut statement = conn.prepare(&format!("SELECT key, {fence}, {expires} FROM {table}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        tell(row.get(0)?);
        last_fence = row.get::<_, i64>(1)?.max(last_fence);
        ends = row.get::<_, i64>(2)?.max(ends);
    }
    if generation.shape == Shape::Brief {
        last_fence = last_fence.saturating_add(generation.opened);
        ends = ends.saturating_add(generation.opened).saturating_add(generation.life);
    }
    (generation.last_fence, generation.ends) = (last_fence, ends);
    Ok(())
}
