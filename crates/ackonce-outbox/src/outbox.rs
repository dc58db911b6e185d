//! The outbox of any database: its relay, its parked messages, its lag.

use std::fmt;
use std::sync::Arc;

use ackonce::store::Note;
use ackonce::{CancellationToken, Result};

use crate::relay::Relay;
use crate::table::{OutboxTable, Parked};
use crate::{OutboxCounts, OutboxHealth, OutboxLag, OutboxOptions, OutboxPublisher, Waking};

/// The outbox of a database. [`PostgresOutbox`](crate::PostgresOutbox) and [`SqliteOutbox`](crate::SqliteOutbox) have one,
/// and publish into it. Cloning is cheap.
#[derive(Clone)]
pub struct Outbox {
    table: Arc<dyn OutboxTable>,
    options: OutboxOptions,
    shutdown: CancellationToken,
    health: OutboxHealth,
}

impl Outbox {
    pub(crate) fn new(table: Arc<dyn OutboxTable>) -> Self {
        let (options, shutdown) = (OutboxOptions::default(), CancellationToken::new());
        Self { table, options, shutdown, health: OutboxHealth::default() }
    }

    /// The same with these settings for its relay.
    #[must_use]
    pub fn with_options(&self, options: OutboxOptions) -> Self {
        Self { options, ..self.clone() }
    }

    /// The same with a relay that ends when this token is cancelled: it takes no further rows, waits until those in flight
    /// are confirmed, for [`OutboxOptions::shutdown_timeout`] at most, and gives its ranges back.
    #[must_use]
    pub fn with_shutdown(&self, shutdown: CancellationToken) -> Self {
        Self { shutdown, ..self.clone() }
    }

    /// The same with a relay that `health` follows, and no other.
    #[must_use]
    pub fn with_health(&self, health: OutboxHealth) -> Self {
        Self { health, ..self.clone() }
    }

    /// Relays messages until the shutdown. Any number of relays, in any processes, share the work: each holds ranges of
    /// keys, by claims in the store.
    ///
    /// # Crashes
    /// A message is removed after it was confirmed. A relay that is killed in between, or was paused for longer than its
    /// lease, leaves messages that are published again, with the same ID: a consumer of Ackonce takes each once. The first
    /// copies of the messages of a key are in order under all of these; a copy that comes later is a duplicate.
    ///
    /// An outage of the broker or of the database is waited for, with a log line each ten seconds.
    ///
    /// # Errors
    /// [`Config`](ackonce::ErrorKind::Config) for a setting that cannot be honoured, and errors of the database that no
    /// repetition mends: missing tables, a missing privilege, damage.
    pub async fn run(&self, publisher: impl OutboxPublisher + 'static) -> Result<OutboxCounts> {
        self.options.check()?;
        let (table, options) = (self.table.clone(), self.options.clone());
        let relay =
            Relay::new(table, Arc::new(publisher), options, self.shutdown.clone(), self.health.clone())?;
        relay.run().await
    }

    /// Tells the relays, in this process and others, that a transaction with messages was committed. It only hastens them:
    /// they find messages by themselves, too. Costs nothing that a loop would notice; between processes at most 20
    /// notifications a second are sent.
    pub fn wake(&self) {
        self.table.wake();
    }

    /// A handler that publishes, most often an inbox, with a [`wake`](Self::wake) after its commits.
    pub fn waking<H>(&self, handler: H) -> Waking<H> {
        Waking { handler, table: self.table.clone() }
    }

    /// Messages that cannot be published, in the order of their rows, from row number `from` on, at most `most`. Those that
    /// only wait behind them are counted.
    ///
    /// # Errors
    /// The database cannot answer.
    pub async fn parked(&self, from: i64, most: usize) -> Result<Vec<Parked>> {
        self.table.parked(from, most).await
    }

    /// Puts parked messages back into their places, with those that wait behind them; they keep their IDs. Returns the
    /// number of rows that were parked and chosen. The note is kept in the table `outbox_audit`.
    ///
    /// # Errors
    /// The database cannot answer; all of them were put back or none.
    pub async fn redrive(&self, rows: &[i64], note: &Note) -> Result<u64> {
        let count = self.table.redrive(rows.to_vec(), note.clone()).await?;
        audit("redrive", rows, note);
        self.wake();
        Ok(count)
    }

    /// Deletes parked messages for good, and puts those that wait behind them back. The payload is gone: the note is kept in
    /// the table `outbox_audit`.
    ///
    /// # Errors
    /// As [`redrive`](Self::redrive).
    pub async fn discard(&self, rows: &[i64], note: &Note) -> Result<u64> {
        let count = self.table.discard(rows.to_vec(), note.clone()).await?;
        audit("discard", rows, note);
        self.wake();
        Ok(count)
    }

    /// The messages that wait for a relay, and the age of the oldest.
    ///
    /// # Errors
    /// The database cannot answer.
    pub async fn lag(&self) -> Result<OutboxLag> {
        self.table.lag().await
    }
}

fn audit(decision: &'static str, rows: &[i64], note: &Note) {
    tracing::warn!(target: "ackonce", decision, ?rows, actor = note.actor, reason = note.reason, "parked messages of the outbox");
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("table", &self.table)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
