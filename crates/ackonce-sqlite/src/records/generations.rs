//! Settled records, in generations: a table each, filled one after another and dropped whole.
//!
//! Inserting random keys into one table slows down as it grows, and deleting from it costs as much as inserting.
//! A generation is sealed while it is small; then it takes no further record, and a [`Filter`] answers for it.
//! Records are grouped by the length of their window, so that a generation is not kept for one record with a longer
//! window.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use ackonce::Result;
use rusqlite::Connection;

use super::filter::{self, Filter, Probe};
use super::generation::Generation;
use crate::error::rolled_back;
use crate::schema::Incarnation;

/// The place from which a connection reads the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FilterSource {
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
    pub(super) as_of: Option<Incarnation>,
    pub(crate) all: Vec<Generation>,
    pub(super) filters: FilterSource,
}

impl Generations {
    pub(crate) fn new(filters: FilterSource) -> Self {
        Self { as_of: None, all: Vec::new(), filters }
    }

    /// True if this was read from that incarnation of the file.
    pub(crate) fn is_current(&self, incarnation: &Incarnation) -> bool {
        self.as_of.as_ref() == Some(incarnation)
    }

    /// Reads the list anew. Filters in memory are not read again: the records of a sealed generation do not change,
    /// whichever backup contains it.
    pub(crate) fn read(&mut self, conn: &Connection, incarnation: Incarnation) -> Result<()> {
        // A failure half-way must not leave a partial list that passes for complete.
        self.as_of = None;
        let new = list(conn).map_err(|e| rolled_back("reading the generations", e))?;
        let known = std::mem::replace(&mut self.all, new);
        if self.filters == FilterSource::InMemory {
            self.load_filters(conn, known)?;
        }
        self.as_of = Some(incarnation);
        Ok(())
    }

    /// Gives the sealed generations their filters: from memory by their seals, and otherwise from the file.
    fn load_filters(&mut self, conn: &Connection, known: Vec<Generation>) -> Result<()> {
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

    /// The generations to read, the latest first, each with the record keys, by index, that it may hold.
    pub(crate) fn candidates(
        &self,
        conn: &Connection,
        indexes: &[usize],
        probes: &[Probe],
    ) -> Result<Vec<(&Generation, Vec<usize>)>> {
        let excluded = match self.filters {
            FilterSource::InMemory => HashSet::new(),
            FilterSource::InFile => self.excluded_by(conn, indexes, probes)?,
        };
        let mut candidates = Vec::new();
        for generation in self.all.iter().rev() {
            let may_hold = |n: &usize| match &generation.filter {
                Some(filter) => filter.may_hold(&probes[*n]),
                None => !excluded.contains(&(generation.id, *n)),
            };
            let held: Vec<_> = indexes.iter().copied().filter(may_hold).collect();
            if !held.is_empty() {
                candidates.push((generation, held));
            }
        }
        Ok(candidates)
    }

    /// The record keys, by index, that the filters in the file rule out for a generation.
    fn excluded_by(
        &self,
        conn: &Connection,
        indexes: &[usize],
        probes: &[Probe],
    ) -> Result<HashSet<(i64, usize)>> {
        let levels: BTreeSet<u32> = self.all.iter().filter_map(|g| g.level).collect();
        let mut excluded = HashSet::new();
        for level in levels {
            for &n in indexes {
                let generations = filter::excluded_by(conn, level, &probes[n])?;
                excluded.extend(generations.into_iter().map(|generation| (generation, n)));
            }
        }
        Ok(excluded)
    }

    /// The oldest generation, other than `but`, whose records have expired, or may have if it is open.
    pub(crate) fn next_expired(&self, now: i64, but: Option<i64>) -> Option<i64> {
        self.all.iter().find(|g| g.is_expired(now) && Some(g.id) != but).map(|g| g.id)
    }

    pub(crate) fn get(&self, id: i64) -> Option<&Generation> {
        self.all.iter().find(|g| g.id == id)
    }
}

fn list(conn: &Connection) -> rusqlite::Result<Vec<Generation>> {
    let sql = "SELECT id, shape, bound, opened, life, ends, last_fence, sealed, level, seal \
               FROM main.ackonce_generations ORDER BY id";
    let mut statement = conn.prepare_cached(sql)?;
    statement.query_map([], Generation::of)?.collect()
}
