//! One generation of settled records: its properties and its statements.

use std::sync::Arc;

use rusqlite::Row;

use super::columns::Shape;
use super::filter::Filter;
use super::statements;

/// A generation takes records for this part of its window, so that its first records wait no longer than that for its
/// last.
const OPEN_PART: i64 = 8;
/// The shortest window that a generation is made for, in microseconds; shorter windows share it.
const SHORTEST_BOUND: i64 = 60_000_000;

/// One generation, as its row in `ackonce_generations` says.
#[derive(Debug, Clone)]
pub(crate) struct Generation {
    pub(crate) id: i64,
    pub(crate) shape: Shape,
    pub(crate) bound: i64,
    pub(crate) opened: i64,
    pub(crate) life: i64,
    pub(crate) ends: i64,
    pub(crate) last_fence: i64,
    pub(crate) sealed: bool,
    /// The level of its filter in the file; a sealed generation has one.
    pub(crate) level: Option<u32>,
    /// A random number that a sealed generation gets, which identifies its filter in memory: the number of a
    /// generation is assigned a second time after a backup was restored.
    pub(crate) seal: Option<i64>,
    /// Its filter, if it is sealed and this connection has filters in memory.
    pub(crate) filter: Option<Arc<Filter>>,
    /// The statement that adds a record, which each completion needs; empty once it is sealed.
    insert: Arc<str>,
}

impl Generation {
    pub(crate) fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let shape = if row.get::<_, i64>(1)? == 0 { Shape::Brief } else { Shape::Full };
        let sealed = row.get::<_, i64>(7)? != 0;
        let insert = if sealed { Arc::default() } else { insert(row.get(0)?, shape) };
        Ok(Self {
            id: row.get(0)?,
            shape,
            bound: row.get(2)?,
            opened: row.get(3)?,
            life: row.get(4)?,
            ends: row.get(5)?,
            last_fence: row.get(6)?,
            sealed,
            level: row.get(8)?,
            seal: row.get(9)?,
            filter: None,
            insert,
        })
    }

    pub(crate) fn new(id: i64, shape: Shape, bound: i64, opened: i64, life: i64) -> Self {
        let ends = opened.saturating_add(bound / OPEN_PART).saturating_add(bound);
        let (last_fence, sealed, level, seal, filter) = (0, false, None, None, None);
        let insert = insert(id, shape);
        Self { id, shape, bound, opened, life, ends, last_fence, sealed, level, seal, filter, insert }
    }

    pub(crate) fn table(&self) -> String {
        table(self.id, self.shape)
    }

    /// The name of its table without the database's, as an index names it.
    pub(crate) fn bare_table(&self) -> String {
        self.table().replace("main.", "")
    }

    /// The statement that reads a record from it.
    pub(crate) fn select(&self) -> String {
        statements::select(&self.table(), self.shape)
    }

    /// The statement that adds a record to it while it is open.
    pub(crate) fn insert(&self) -> &str {
        &self.insert
    }

    /// True if all its records have expired. While the clock has not passed a fence (it was set back) the generation
    /// stays: the next fence must be larger.
    pub(crate) fn is_expired(&self, now: i64) -> bool {
        self.ends <= now && self.last_fence < now
    }

    /// True if it has taken records for long enough, or the clock was set back.
    pub(crate) fn is_outdated(&self, now: i64) -> bool {
        now.abs_diff(self.opened) >= self.bound.unsigned_abs() / OPEN_PART.unsigned_abs()
    }
}

fn insert(id: i64, shape: Shape) -> Arc<str> {
    statements::insert(&table(id, shape), shape).into()
}

fn table(id: i64, shape: Shape) -> String {
    match shape {
        Shape::Brief => format!("main.ackonce_brief_{id}"),
        Shape::Full => format!("main.ackonce_full_{id}"),
    }
}

/// The bound of the generation for this window: at most a quarter longer than the window.
pub(crate) fn bound_for(window: i64) -> i64 {
    let window = window.max(SHORTEST_BOUND);
    let step = 1 << (window.ilog2() - 2);
    // An addition that overflows means the longest bound.
    window.checked_add(step - 1).map_or(i64::MAX, |above| above / step * step)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_no_shorter_than_the_window_and_little_longer() {
        let windows = (0..63).flat_map(|n| [(1_i64 << n) - 1, 1 << n, (1 << n) + 1, (1 << n) / 3 * 5]);
        for window in windows.chain([i64::MAX]).filter(|w| *w > SHORTEST_BOUND) {
            let bound = bound_for(window);
            assert!(bound >= window && bound - window <= window / 4, "{window}: {bound}");
            assert_eq!(bound_for(bound), bound, "{window}");
        }
        assert_eq!(bound_for(-5), bound_for(0));
    }
}
