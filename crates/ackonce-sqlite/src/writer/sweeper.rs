//! The automatic sweep, which drops expired records without stopping the writers.
//!
//! Settled records go with their generation: one statement returns its pages, however many records it held. Only a
//! few claims are never finished; a sweep walks through them in key order, a chunk at a time, and keeps its position.

use std::time::{Duration, Instant};

use ackonce::store::Token;
use ackonce::{Error, Result};

use crate::clock::moment;
use crate::error::breaks_connection;
use crate::records::Records;
use crate::records::cursor::Cursor;

/// The number of records that one step of an idle or a full writer reads.
const CHUNK: u32 = 2000;
/// The number of claims read per record written: a pass over the claims ends by the time a quarter as many records
/// have been written.
const PER_WRITE: usize = 4;
/// The minimum number of claims that a sweep reads along with a group, so that not every small group pays for a read.
const MIN_WITH_GROUP: usize = 500;
/// The pause after a failure, in which nothing is swept along with the writes and nothing is logged.
const PAUSE: Duration = Duration::from_secs(10);

/// The automatic sweep of one writer.
pub(super) struct Sweeper {
    /// The position in the claims.
    claims: Vec<u8>,
    /// The number of claims to read for the records written since the last read.
    due: usize,
    /// The generation that could not be dropped, and the time of the attempt: the next one is another, after a pause.
    failure: Option<(Option<i64>, Instant)>,
}

impl Sweeper {
    /// Starts at a random position: processes that share a file and restart often would otherwise sweep only its
    /// start.
    pub(super) fn new() -> Self {
        Self { claims: Token::random().0.to_vec(), due: 0, failure: None }
    }

    /// Sweeps a little in the transaction of a group that wrote `written` records, which needs no flush of its own.
    ///
    /// # Errors
    /// Only errors after which the transaction must not be committed: any other failed sweep is undone alone, and
    /// costs space.
    pub(super) fn sweep_with_group(&mut self, records: &Records<'_>, written: usize, now: u64) -> Result<()> {
        // Duplicates alone need neither a flush nor room on the disk.
        if written == 0 {
            return Ok(());
        }
        self.due = self.due.saturating_add(written.saturating_mul(PER_WRITE));
        let limit = match self.due {
            0..MIN_WITH_GROUP => 0,
            due => u32::try_from(due).unwrap_or(u32::MAX),
        };
        let expired = self.next_expired(records, now)?;
        if self.is_paused() || (limit == 0 && expired.is_none()) {
            return Ok(());
        }
        match records.in_savepoint(|| self.sweep(records, limit, expired, now)) {
            Err(error) if records.has_ended() || breaks_connection(&error) => Err(error),
            Err(error) => {
                self.pause_after(expired, &error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    /// Sweeps while the store is idle, in a transaction of its own.
    ///
    /// # Errors
    /// The transaction must be rolled back.
    pub(super) fn sweep_idle(&mut self, records: &Records<'_>, now: u64) -> Result<()> {
        if self.is_paused() {
            return Ok(());
        }
        let expired = self.next_expired(records, now)?;
        self.sweep(records, CHUNK, expired, now).inspect_err(|error| self.pause_after(expired, error))
    }

    /// Runs one step of the sweep of a full store, in a transaction of its own; returns the position to continue
    /// from.
    ///
    /// # Errors
    /// The transaction must be rolled back.
    pub(super) fn sweep_full_step(
        &mut self,
        records: &Records<'_>,
        cursor: &Cursor,
        now: u64,
    ) -> Result<Option<Cursor>> {
        let expired = self.next_expired(records, now)?;
        let Some(generation) = expired else {
            return records.sweep_step(cursor, CHUNK, now).map(|(_, next)| next);
        };
        // A generation frees the most room for the least work.
        records.drop_if_expired(generation, now).inspect_err(|error| self.pause_after(expired, error))?;
        Ok(Some(cursor.clone()))
    }

    /// Pauses the sweep along with writes: in a full store it must not fail writes that need no room.
    pub(super) fn pause(&mut self) {
        self.failure = Some((self.failed_generation(), Instant::now()));
    }

    fn sweep(&mut self, records: &Records<'_>, limit: u32, expired: Option<i64>, now: u64) -> Result<()> {
        // One generation at a time: the callers of this group wait for it.
        if let Some(generation) = expired {
            records.drop_if_expired(generation, now)?;
        }
        if limit > 0 {
            self.due = 0;
            self.claims = records.sweep_claims(&self.claims, limit, now)?.unwrap_or_default();
        }
        Ok(())
    }

    /// A generation to drop, if any.
    fn next_expired(&self, records: &Records<'_>, now: u64) -> Result<Option<i64>> {
        records.generations(|_, all| Ok(all.next_expired(moment(now), self.failed_generation())))
    }

    fn failed_generation(&self) -> Option<i64> {
        self.failure.and_then(|(generation, _)| generation)
    }

    fn is_paused(&self) -> bool {
        self.failure.is_some_and(|(_, at)| at.elapsed() < PAUSE)
    }

    fn pause_after(&mut self, generation: Option<i64>, error: &Error) {
        if !self.is_paused() {
            tracing::warn!(target: "ackonce", error = %ackonce::chain(error), generation, "expired records could not be swept");
        }
        // The next sweep starts elsewhere: one bad table must not keep the rest.
        *self = Self { failure: Some((generation, Instant::now())), ..Self::new() };
    }
}
