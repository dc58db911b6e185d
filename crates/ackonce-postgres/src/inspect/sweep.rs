//! Dropping expired records without stopping the writers.
//!
//! A sweep reads the table in the order of its pages, a range at a time. An index on the expiry would find the
//! expired records without a read of the others, but it takes half as many bytes again per record, and every
//! completion would have to change it. Tables per generation would be dropped whole, but PostgreSQL keeps a key
//! unique within one table only, and a message would be doubled between two generations.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ackonce::store::Token;
use ackonce::{Error, ErrorKind, Result};
use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use crate::connection::PoolClient;
use crate::records::{SWEEP, Texts, Tid};

/// Pages per statement: 2 MB, about 40 000 records.
const CHUNK: u32 = 256;
/// Records of a page, about.
const PER_PAGE: usize = 150;
/// Records checked per record written: a pass over the table ends while a quarter of it is written, so that in
/// a steady state expired records take an eighth of the room on average.
const PER_WRITE: usize = 4;
/// Records written before the next range is swept, so that small batches share the cost of a sweep.
const LEAST: usize = 2000;
/// The least dead rows to warn of, if they also exceed a quarter of the live ones: several times autovacuum's threshold.
const DEAD_ROWS: i64 = 50_000;
const WARN_EVERY: Duration = Duration::from_secs(600);

#[derive(Debug)]
pub(crate) struct Sweeper {
    text: String,
    /// Records written since the last sweep of a range.
    written: AtomicUsize,
    /// The next page; `None` before the first sweep.
    page: Mutex<Option<u32>>,
    /// The time of the last warning of dead rows.
    warned: std::sync::Mutex<Option<Instant>>,
}

pub(crate) fn text(texts: &Texts<'_>) -> String {
    texts.fill(SWEEP)
}

impl Sweeper {
    pub(crate) fn new(texts: &Texts<'_>) -> Self {
        Self {
            text: text(texts),
            written: AtomicUsize::new(0),
            page: Mutex::new(None),
            warned: Default::default(),
        }
    }

    /// Sweeps some records after `written` were written. Each process does so for its own writes, so that a
    /// fleet sweeps as much as one process that writes as much.
    pub(crate) async fn along(&self, client: &PoolClient, written: usize) {
        if self.written.fetch_add(written, Ordering::Relaxed) + written < LEAST {
            return;
        }
        // One sweep at a time; the next one counts the records that are written meanwhile.
        let Ok(mut page) = self.page.try_lock() else { return };
        let written = self.written.swap(0, Ordering::Relaxed);
        let pages = u32::try_from(written * PER_WRITE / PER_PAGE).unwrap_or(CHUNK).clamp(1, CHUNK);
        match self.look(client, *page, pages).await {
            Ok((_, next)) => *page = Some(next.unwrap_or(0)),
            // A sweep that fails costs space.
            Err(error) => {
                tracing::warn!(target: "ackonce", error = %ackonce::chain(&error), "expired records could not be swept")
            }
        }
    }

    /// Checks every record once and returns the number of dropped records.
    pub(crate) async fn pass(&self, client: &PoolClient) -> Result<u64> {
        let (mut dropped, mut page) = (0, Some(0));
        while let Some(from) = page {
            let (n, next) = self.look(client, Some(from), CHUNK).await?;
            dropped += n;
            page = next;
        }
        Ok(dropped)
    }

    /// Returns the number of dropped records and the next page; `None` at the end of the table. Without a page it starts
    /// at a random one, so that processes that restart often do not sweep the table's start only.
    async fn look(&self, client: &PoolClient, from: Option<u32>, pages: u32) -> Result<(u64, Option<u32>)> {
        let Some(from) = from else {
            let (_, size) = self.range(client, 0, 0).await?;
            let anywhere = u32::from_be_bytes([0, 1, 2, 3].map(|n| Token::random().0[n]));
            return Ok((0, anywhere.checked_rem(size)));
        };
        let to = from.saturating_add(pages);
        let (dropped, size) = self.range(client, from, to).await?;
        Ok((dropped, (to < size).then_some(to)))
    }

    /// Returns the number of records dropped from these pages, and the number of pages of the table.
    async fn range(&self, client: &PoolClient, from: u32, to: u32) -> Result<(u64, u32)> {
        let params: [(&(dyn ToSql + Sync), Type); 2] =
            [(&Tid::before(from), Type::TID), (&Tid::before(to), Type::TID)];
        let rows = client.query("sweeping", &self.text, &params).await?;
        let columns = |row: &Row| {
            let column = |n| row.try_get::<_, i64>(n).ok();
            Some((column(0)?, column(1)?, column(2)?, column(3)?))
        };
        let (dropped, pages, live, dead) = rows.first().and_then(columns).ok_or_else(|| {
            Error::new(ErrorKind::Corrupt, "postgres: the tables differ from those that this store creates")
        })?;
        self.watch_vacuum(live, dead);
        Ok((dropped.try_into().unwrap_or(0), pages.try_into().unwrap_or(u32::MAX)))
    }
}

impl Sweeper {
    /// Warns of dead rows: a vacuum cannot drop rows that an older transaction might still read, even an idle transaction
    /// in another database of the server.
    fn watch_vacuum(&self, live: i64, dead: i64) {
        if dead < DEAD_ROWS || dead < live / 4 {
            return;
        }
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        if warned.is_some_and(|at| at.elapsed() < WARN_EVERY) {
            return;
        }
        *warned = Some(Instant::now());
        tracing::warn!(
            target: "ackonce",
            live,
            dead,
            "postgres: vacuum does not keep up with the table of records, which grows and slows down: a transaction that \
             is kept open (pg_stat_activity: the oldest xact_start or backend_xmin), a prepared one \
             (pg_prepared_xacts), a replication slot (pg_replication_slots), or autovacuum is off"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SchemaName;

    #[test]
    fn a_vacuum_that_is_held_back_is_warned_of_once_in_a_while() {
        let schema = SchemaName::default();
        let sweeper = Sweeper::new(&Texts::new(&schema));
        let warned = || *sweeper.warned.lock().unwrap();
        // As autovacuum leaves it: 3 % of dead rows and 5000; and a small table, however churned.
        for (live, dead) in [(1_000_000, 35_000), (1_000_000, 100_000), (10_000, 40_000)] {
            sweeper.watch_vacuum(live, dead);
            assert_eq!(warned(), None, "{live} {dead}");
        }
        sweeper.watch_vacuum(1_000_000, 400_000);
        let first = warned();
        assert!(first.is_some());
        sweeper.watch_vacuum(1_000_000, 500_000);
        assert_eq!(warned(), first);
    }
}
