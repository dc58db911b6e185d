//! The removal of expired records, a chunk at a time.

use ackonce::Result;
use rusqlite::params;

use super::Records;
use super::cursor::{Cursor, Table};
use super::generations::Generations;
use crate::clock::moment;
use crate::error::rolled_back;

impl Records<'_> {
    /// Runs one step of a sweep over all tables: a generation, a chunk of `limit` records of one that still has valid
    /// ones, or a chunk of the claims. Returns the number of dropped records and the position to continue from, `None`
    /// at the end.
    pub(crate) fn sweep_step(&self, cursor: &Cursor, limit: u32, now: u64) -> Result<(u64, Option<Cursor>)> {
        let (table, after) = self.table_at(cursor)?;
        if let Some(generation) = &table.generation
            && let Some(dropped) = self.drop_if_expired(generation.id, now)?
        {
            return Ok((dropped, table.end()));
        }
        let (dropped, last) = self.sweep_table(&table, after, limit, now)?;
        let dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
        if let Some(generation) = table.generation.as_ref().filter(|_| dropped > 0) {
            self.generations(|conn, all| all.subtract_rows(conn, generation.id, dropped))?;
        }
        Ok((dropped.unsigned_abs(), last.map_or_else(|| table.end(), |key| Some(table.after(key)))))
    }

    /// Sweeps `limit` claims after a key; returns the key to continue after, `None` at the end.
    pub(crate) fn sweep_claims(&self, after: &[u8], limit: u32, now: u64) -> Result<Option<Vec<u8>>> {
        self.sweep_table(&Table::claims(), after, limit, now).map(|(_, last)| last)
    }

    /// Drops that generation if all its records have expired; returns the number of its records.
    pub(crate) fn drop_if_expired(&self, generation: i64, now: u64) -> Result<Option<u64>> {
        self.generations(|conn, all| all.drop_if_expired(conn, generation, moment(now)))
    }

    /// The table at which a walk continues, and the key in it to continue after.
    pub(crate) fn table_at<'k>(&self, cursor: &'k Cursor) -> Result<(Table, &'k [u8])> {
        self.generations(|_, Generations { all, .. }| Ok(cursor.table(all)))
    }

    /// While the clock has not passed a fence (it was set back), the record stays: the next one must be larger.
    fn sweep_table(
        &self,
        table: &Table,
        after: &[u8],
        limit: u32,
        now: u64,
    ) -> Result<(usize, Option<Vec<u8>>)> {
        let sweep = || -> rusqlite::Result<_> {
            let (name, expires) = (&table.name, table.expires);
            let (expired, passed) = (table.expiry_bound(now), table.fence_bound(now));
            let sql = format!(
                "SELECT max(key), sum(expires <= ?2 AND fence < ?3) FROM (SELECT key, {expires} AS expires, fence \
                 FROM {name} WHERE key > ?1 ORDER BY key LIMIT ?4)"
            );
            let (last, found): (Option<Vec<u8>>, Option<i64>) = self
                .conn
                .prepare_cached(&sql)?
                .query_row(params![after, expired, passed, limit], |r| Ok((r.get(0)?, r.get(1)?)))?;
            let Some(last) = last else { return Ok((0, None)) };
            // Without a write there is no lock and no flush.
            if found.unwrap_or(0) == 0 {
                return Ok((0, Some(last)));
            }
            let sql =
                format!("DELETE FROM {name} WHERE key > ?1 AND key <= ?2 AND {expires} <= ?3 AND fence < ?4");
            let dropped = self.conn.prepare_cached(&sql)?.execute(params![after, last, expired, passed])?;
            Ok((dropped, Some(last)))
        };
        sweep().map_err(|e| rolled_back("sweeping", e))
    }
}
