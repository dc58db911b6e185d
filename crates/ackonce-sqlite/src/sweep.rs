//! Dropping expired records without stopping the writers.
//!
//! A sweep walks the table in key order, a chunk at a time, and remembers where it was. An index on the
//! expiry would find the expired ones without looking at the others, but it doubles the bytes per record and
//! costs every claim and completion a second random write; a chunk of neighbours is a few sequential pages.

use ackonce::{Result, Token};
use rusqlite::{Connection, params};
use tokio::sync::oneshot;

use crate::clock;
use crate::error::{breaks_connection, rolled_back};
use crate::writer::{Outcome, Turn, Work};

/// Records looked at per chunk that was asked for.
const CHUNK: u32 = 2000;
/// Records looked at per record written: a pass over the table ends while a quarter of it is written, so
/// that in a steady state expired records take an eighth of the room on average.
const PER_WRITE: usize = 4;
/// Records looked at along with one group, at least, so that a small group does not pay for a look each.
const LEAST: usize = 500;

/// While the clock has not passed a fence (it was set back), the record stays: the next one must be larger.
const LOOK: &str = "SELECT max(key), sum(expires <= ?2 AND fence < ?2) FROM (SELECT key, expires, fence \
                    FROM main.ackonce_records WHERE key > ?1 ORDER BY key LIMIT ?3)";
const DROP: &str = "DELETE FROM main.ackonce_records \
                    WHERE key > ?1 AND key <= ?2 AND expires <= ?3 AND fence < ?3";

/// Where a pass over the table stands: after this key; empty is the start.
pub(crate) type Cursor = Vec<u8>;

/// One chunk: how many were dropped, and where to go on; `None` at the end of the table.
fn chunk(conn: &Connection, after: &[u8], look: u32) -> rusqlite::Result<(u64, Option<Cursor>)> {
    let now = i64::try_from(clock::now()).unwrap_or(i64::MAX);
    let (last, expired): (Option<Cursor>, Option<i64>) =
        conn.prepare_cached(LOOK)?.query_row(params![after, now, look], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let Some(last) = last else { return Ok((0, None)) };
    let dropped = match expired {
        // No write, no lock, no flush.
        None | Some(0) => 0,
        Some(_) => conn.prepare_cached(DROP)?.execute(params![after, last, now])?,
    };
    Ok((dropped.try_into().unwrap_or(u64::MAX), Some(last)))
}

/// The automatic sweep of one writer.
pub(crate) struct Sweeper {
    cursor: Cursor,
    debt: usize,
}

impl Sweeper {
    /// Starts anywhere, so that processes that share a file and restart often do not sweep its start only.
    pub(crate) fn new() -> Self {
        Self { cursor: Token::random().0.to_vec(), debt: 0 }
    }

    /// Looks at some records after a group wrote `written`, in its transaction: no flush of its own.
    pub(crate) fn along(&mut self, conn: &Connection, written: usize) -> Result<()> {
        self.debt = self.debt.saturating_add(written.saturating_mul(PER_WRITE));
        if self.debt < LEAST {
            return Ok(());
        }
        let look = u32::try_from(std::mem::take(&mut self.debt)).unwrap_or(u32::MAX);
        self.look(conn, look)
    }

    /// Looks at a chunk while nobody asks for anything.
    pub(crate) fn idle(&mut self, conn: &Connection) -> Result<()> {
        self.look(conn, CHUNK)
    }

    /// # Errors
    /// Only those after which the transaction must not be committed; what else fails a sweep costs space.
    fn look(&mut self, conn: &Connection, look: u32) -> Result<()> {
        match chunk(conn, &self.cursor, look) {
            Ok((_, cursor)) => self.cursor = cursor.unwrap_or_default(),
            Err(e) => {
                let error = rolled_back("sweeping", e);
                if breaks_connection(&error) {
                    return Err(error);
                }
                tracing::warn!(%error, "expired records could not be swept");
            }
        }
        Ok(())
    }
}

/// One chunk of a sweep that was asked for.
pub(crate) struct Chunk {
    pub(crate) after: Cursor,
    pub(crate) done: Result<(u64, Option<Cursor>)>,
    pub(crate) reply: oneshot::Sender<Result<(u64, Option<Cursor>)>>,
}

impl Work for Chunk {
    fn rows(&self) -> usize {
        CHUNK as usize
    }

    fn run(&mut self, turn: &Turn<'_>) -> Result<usize> {
        self.done = Ok(chunk(turn.tx, &self.after, CHUNK).map_err(|e| rolled_back("sweeping", e))?);
        // Dropping records is nothing to sweep after.
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
