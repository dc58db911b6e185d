//! The life of a generation: it is opened, counts its records, is sealed with its filter, and is dropped.

use std::sync::Arc;

use ackonce::Result;
use ackonce::store::Token;
use rusqlite::{Connection, params};

use super::columns::Shape;
use super::filter::Filter;
use super::generation::{Generation, bound_for};
use super::generations::{FilterSource, Generations};
use super::key::RecordKey;
use crate::error::rolled_back;
use crate::schema;

impl Generations {
    /// The open generation for a record of that shape and window. If there is none, opens one for records with the
    /// window of this one.
    pub(crate) fn open_for(
        &mut self,
        conn: &Connection,
        shape: Shape,
        (window, life): (i64, i64),
        now: i64,
    ) -> Result<Generation> {
        let bound = bound_for(window);
        let open = self.all.iter().rev().find(|g| !g.sealed && g.shape == shape && g.bound == bound).cloned();
        match open {
            Some(generation) if !generation.is_outdated(now) => Ok(generation),
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
        let id = next_number(conn).map_err(|e| rolled_back("numbering a generation", e))?;
        let new = Generation::new(id, shape, bound, now, life);
        let (columns, indexes) = match shape {
            Shape::Brief => (schema::BRIEF, ""),
            Shape::Full => (schema::FULL, schema::FULL_INDEXES),
        };
        let indexes = indexes.replace("{table}", &new.bare_table());
        let code = i64::from(shape == Shape::Full);
        conn.prepare_cached(
            "INSERT INTO main.ackonce_generations (id, shape, bound, opened, life, ends, last_fence, rows, sealed) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, 0, 0, 0)",
        )
        .and_then(|mut s| s.execute(params![id, code, bound, now, life, new.ends]))
        .and_then(|_| conn.execute_batch(&format!("CREATE TABLE {} {columns};{indexes}", new.table())))
        .map_err(|e| rolled_back("opening a generation", e))?;
        self.all.push(new.clone());
        self.renew(conn)?;
        Ok(new)
    }

    /// Adds about `rows` records to the count of a generation, and seals it once it holds `most`.
    pub(crate) fn add_rows(&mut self, conn: &Connection, id: i64, rows: i64, most: i64) -> Result<()> {
        let sql = "UPDATE main.ackonce_generations SET rows = rows + ?2 WHERE id = ?1 RETURNING rows";
        let holds: i64 = conn
            .prepare_cached(sql)
            .and_then(|mut s| s.query_row([id, rows], |r| r.get(0)))
            .map_err(|e| rolled_back("counting records", e))?;
        if holds >= most { self.seal(conn, id) } else { Ok(()) }
    }

    /// Subtracts deleted records from the count of a generation.
    pub(crate) fn subtract_rows(&self, conn: &Connection, id: i64, rows: i64) -> Result<()> {
        conn.prepare_cached("UPDATE main.ackonce_generations SET rows = rows - ?2 WHERE id = ?1")
            .and_then(|mut s| s.execute([id, rows]))
            .map_err(|e| rolled_back("counting records", e))?;
        Ok(())
    }

    /// Closes it to new records and makes its filter. This is one pass over its keys, so generations are kept small.
    fn seal(&mut self, conn: &Connection, id: i64) -> Result<()> {
        let Some(at) = self.all.iter().position(|g| g.id == id && !g.sealed) else { return Ok(()) };
        let mut sealed = self.all[at].clone();
        let mut record_keys = Vec::new();
        read_keys(conn, &mut sealed, |key| record_keys.push(key))
            .map_err(|e| rolled_back("sealing a generation", e))?;
        let filter = Filter::of(&record_keys);
        let (level, seal) = (filter.level(), new_seal());
        let rows = i64::try_from(record_keys.len()).unwrap_or(i64::MAX);
        let sql = "UPDATE main.ackonce_generations SET sealed = 1, rows = ?2, ends = ?3, last_fence = ?4, \
                   level = ?5, seal = ?6 WHERE id = ?1";
        conn.prepare_cached(sql)
            .and_then(|mut s| s.execute(params![id, rows, sealed.ends, sealed.last_fence, level, seal]))
            .and_then(|_| filter.write(conn, id))
            .map_err(|e| rolled_back("sealing a generation", e))?;
        (sealed.sealed, sealed.level, sealed.seal) = (true, Some(level), Some(seal));
        if self.filters == FilterSource::InMemory {
            sealed.filter = Some(Arc::new(filter));
        }
        self.all[at] = sealed;
        self.renew(conn)
    }

    /// Drops the generation at that index of the list; returns the number of its records.
    ///
    /// Its table goes first: its pages are then free for the other statements, even in a file that may not grow.
    fn drop(&mut self, conn: &Connection, at: usize) -> Result<u64> {
        let dropped = &self.all[at];
        let drop = || -> rusqlite::Result<i64> {
            conn.execute_batch(&format!("DROP TABLE {}", dropped.table()))?;
            dropped.level.map_or(Ok(()), |level| Filter::delete(conn, dropped.id, level))?;
            conn.prepare_cached("DELETE FROM main.ackonce_generations WHERE id = ?1 RETURNING rows")?
                .query_row([dropped.id], |r| r.get(0))
        };
        let rows = drop().map_err(|e| rolled_back("dropping a generation", e))?;
        self.all.remove(at);
        self.renew(conn)?;
        Ok(rows.unsigned_abs())
    }

    /// Drops that generation if all its records have expired.
    pub(crate) fn drop_if_expired(&mut self, conn: &Connection, id: i64, now: i64) -> Result<Option<u64>> {
        match self.all.iter().position(|g| g.id == id && g.is_expired(now)) {
            Some(at) if self.all[at].sealed => self.drop(conn, at).map(Some),
            Some(at) => self.drop_open_if_expired(conn, at, now),
            None => Ok(None),
        }
    }

    /// Drops an open generation if all its records have expired. Its highest fence is not stored, so its records are
    /// read. It is not sealed first: a filter needs pages, and a full file has none until this generation is dropped.
    fn drop_open_if_expired(&mut self, conn: &Connection, at: usize, now: i64) -> Result<Option<u64>> {
        let mut read = self.all[at].clone();
        read_keys(conn, &mut read, drop).map_err(|e| rolled_back("reading a generation", e))?;
        if read.is_expired(now) {
            return self.drop(conn, at).map(Some);
        }
        // No second pass before then.
        let ends = read.ends.max(read.last_fence.saturating_add(1));
        conn.prepare_cached("UPDATE main.ackonce_generations SET ends = ?2 WHERE id = ?1")
            .and_then(|mut s| s.execute([read.id, ends]))
            .map_err(|e| rolled_back("keeping a generation", e))?;
        self.all[at].ends = ends;
        self.renew(conn)?;
        Ok(None)
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

/// Passes each record key of a generation to `each`, and sets its highest fence and the end of its last record.
fn read_keys(
    conn: &Connection,
    generation: &mut Generation,
    mut each: impl FnMut(RecordKey),
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
        each(row.get(0)?);
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
