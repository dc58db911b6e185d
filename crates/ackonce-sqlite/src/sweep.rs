//! Dropping expired records without stopping the writers.
//!
//! Settled records go with their generation: one statement returns its pages, however many records it held. Only a
//! few claims are never finished; a sweep walks through them in key order, a chunk at a time, and keeps its position.

use std::time::{Duration, Instant};

use ackonce::store::Token;
use ackonce::{Error, Result};
use rusqlite::params;
use tokio::sync::oneshot;

use crate::clock::moment;
use crate::cursor::{Cursor, Table};
use crate::error::{breaks_connection, rolled_back};
use crate::records::Records;
use crate::writer::{Outcome, Turn, Work};

/// The number of records that a requested sweep reads per chunk.
const CHUNK: u32 = 2000;
/// The number of claims read per record written: a pass over the claims ends by the time a quarter as many records
/// have been written.
const PER_WRITE: usize = 4;
/// The minimum number of claims that a sweep reads along with a group, so that not every small group pays for a read.
const LEAST: usize = 500;

/// The pause after a failure, in which nothing is swept along with the writes and nothing is logged.
const PAUSE: Duration = Duration::from_secs(10);

/// Sweeps one chunk of one table. Returns the number of dropped records and the key to continue after, `None` at the
/// end.
///
/// While the clock has not passed a fence (it was set back), the record stays: the next one must be larger.
fn chunk(
    records: &Records<'_>,
    table: &Table,
    after: &[u8],
    limit: u32,
    now: u64,
) -> rusqlite::Result<(usize, Option<Vec<u8>>)> {
    let (name, expires) = (&table.name, table.expires);
    let (expired, passed) = (table.expired(now), table.passed(now));
    let sql = format!(
        "SELECT max(key), sum(expires <= ?2 AND fence < ?3) FROM (SELECT key, {expires} AS expires, fence \
         FROM {name} WHERE key > ?1 ORDER BY key LIMIT ?4)"
    );
    let (last, found): (Option<Vec<u8>>, Option<i64>) = records
        .conn
        .prepare_cached(&sql)?
        .query_row(params![after, expired, passed, limit], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let Some(last) = last else { return Ok((0, None)) };
    let dropped = match found {
        // No write, no lock, no flush.
        None | Some(0) => 0,
        Some(_) => {
            let sql =
                format!("DELETE FROM {name} WHERE key > ?1 AND key <= ?2 AND {expires} <= ?3 AND fence < ?4");
            records.conn.prepare_cached(&sql)?.execute(params![after, last, expired, passed])?
        }
    };
    Ok((dropped, Some(last)))
}

/// Runs one step of a whole sweep: a generation, a chunk of one that still has valid records, or a chunk of the
/// claims.
fn step(records: &Records<'_>, cursor: &Cursor, now: u64) -> Result<(u64, Option<Cursor>)> {
    let (table, after) = records.generations(|_, all| Ok(cursor.table(&all.all)))?;
    if let Some(generation) = &table.generation {
        let dropped = records.generations(|conn, all| all.drop_if_over(conn, generation.id, moment(now)))?;
        if let Some(dropped) = dropped {
            return Ok((dropped, table.end()));
        }
    }
    let (dropped, last) =
        chunk(records, &table, after, CHUNK, now).map_err(|e| rolled_back("sweeping", e))?;
    let dropped = i64::try_from(dropped).unwrap_or(i64::MAX);
    if let Some(generation) = table.generation.as_ref().filter(|_| dropped > 0) {
        records.generations(|conn, all| all.shrunk(conn, generation.id, dropped))?;
    }
    Ok((dropped.unsigned_abs(), last.map_or_else(|| table.end(), |key| Some(table.after(key)))))
}

/// The automatic sweep of one writer.
pub(crate) struct Sweeper {
    claims: Vec<u8>,
    debt: usize,
    /// The generation that could not be dropped, and the time of the attempt: the next one is another, after a pause.
    failed: Option<(Option<i64>, Instant)>,
}

impl Sweeper {
    /// Starts at a random position: processes that share a file and restart often would otherwise sweep only its
    /// start.
    pub(crate) fn new() -> Self {
        Self { claims: Token::random().0.to_vec(), debt: 0, failed: None }
    }

    /// Sweeps a little in the transaction of a group that wrote `written` records, which needs no flush of its own.
    ///
    /// # Errors
    /// Only errors after which the transaction must not be committed: any other failed sweep is undone alone, and
    /// costs space.
    pub(crate) fn along(&mut self, records: &Records<'_>, written: usize, now: u64) -> Result<()> {
        // Duplicates alone need neither a flush nor room on the disk.
        if written == 0 {
            return Ok(());
        }
        self.debt = self.debt.saturating_add(written.saturating_mul(PER_WRITE));
        let limit = match self.debt {
            0..LEAST => 0,
            debt => u32::try_from(debt).unwrap_or(u32::MAX),
        };
        let over = self.over(records, now)?;
        if self.rests() || (limit == 0 && over.is_none()) {
            return Ok(());
        }
        match records.apart(|| self.sweep(records, limit, over, now)) {
            Err(error) if records.is_over() || breaks_connection(&error) => Err(error),
            Err(error) => {
                self.failed(over, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Sweeps while the store is idle, in a transaction of its own.
    ///
    /// # Errors
    /// The transaction must be rolled back.
    pub(crate) fn idle(&mut self, records: &Records<'_>, now: u64) -> Result<()> {
        if self.rests() {
            return Ok(());
        }
        let over = self.over(records, now)?;
        self.sweep(records, CHUNK, over, now).inspect_err(|error| self.failed(over, error))
    }

    /// Runs one step of the sweep of a full store, in a transaction of its own; returns the position to continue
    /// from.
    ///
    /// # Errors
    /// The transaction must be rolled back.
    pub(crate) fn press(
        &mut self,
        records: &Records<'_>,
        cursor: &Cursor,
        now: u64,
    ) -> Result<Option<Cursor>> {
        let over = self.over(records, now)?;
        let Some(generation) = over else { return step(records, cursor, now).map(|(_, next)| next) };
        // A generation frees the most room for the least work.
        records
            .generations(|conn, all| all.drop_if_over(conn, generation, moment(now)))
            .inspect_err(|error| self.failed(over, error))?;
        Ok(Some(cursor.clone()))
    }

    /// Pauses the sweep along with writes: in a full store it must not fail writes that need no room.
    pub(crate) fn rest(&mut self) {
        let failed = self.failed.and_then(|(generation, _)| generation);
        self.failed = Some((failed, Instant::now()));
    }

    fn sweep(&mut self, records: &Records<'_>, limit: u32, over: Option<i64>, now: u64) -> Result<()> {
        // One generation at a time: the callers of this group wait for it.
        if let Some(generation) = over {
            records.generations(|conn, all| all.drop_if_over(conn, generation, moment(now)))?;
        }
        if limit > 0 {
            self.debt = 0;
            let (table, _) = Cursor::CLAIMS.table(&[]);
            let chunk = chunk(records, &table, &self.claims, limit, now);
            let (_, last) = chunk.map_err(|e| rolled_back("sweeping", e))?;
            self.claims = last.unwrap_or_default();
        }
        Ok(())
    }

    /// A generation to drop, if any.
    fn over(&self, records: &Records<'_>, now: u64) -> Result<Option<i64>> {
        let failed = self.failed.and_then(|(generation, _)| generation);
        records.generations(|_, all| Ok(all.over(moment(now), failed)))
    }

    fn rests(&self) -> bool {
        self.failed.is_some_and(|(_, at)| at.elapsed() < PAUSE)
    }

    fn failed(&mut self, generation: Option<i64>, error: &Error) {
        if !self.rests() {
            tracing::warn!(target: "ackonce", error = %ackonce::chain(error), generation, "expired records could not be swept");
        }
        // The next sweep starts elsewhere: one bad table must not keep the rest.
        *self = Self { failed: Some((generation, Instant::now())), ..Self::new() };
    }
}

/// One step of a requested sweep.
pub(crate) struct Chunk {
    pub(crate) after: Cursor,
    pub(crate) done: Result<(u64, Option<Cursor>)>,
    pub(crate) reply: oneshot::Sender<Result<(u64, Option<Cursor>)>>,
}

impl Work for Chunk {
    fn rows(&self) -> usize {
        CHUNK as usize
    }

    /// Runs alone, so that its failure affects no other command: a savepoint would take room.
    fn alone(&self) -> bool {
        true
    }

    fn run(&mut self, turn: &Turn<'_>) -> Result<usize> {
        self.done = Ok(step(turn.records, &self.after, turn.clock.now())?);
        // No sweep follows the removal of records.
        Ok(0)
    }

    fn answer(self: Box<Self>, outcome: &Outcome) {
        let done = match outcome {
            Outcome::Committed => self.done,
            Outcome::Refused(error) | Outcome::Failed(error) => Err(error.clone()),
        };
        let _ = self.reply.send(done);
    }
}
