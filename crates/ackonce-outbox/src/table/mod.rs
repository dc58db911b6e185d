//! The tables of an outbox, as the relay needs them.

#[cfg(feature = "postgres")]
pub(crate) mod postgres;
#[cfg(feature = "sqlite")]
pub(crate) mod sqlite;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackonce::store::Note;
use ackonce::{Deduplicator, Result};
use async_trait::async_trait;

use crate::{OutboxLag, OutboxMessage};

/// A row that waits.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: i64,
    pub(crate) lane: i64,
    /// True if a row of its lane is parked.
    pub(crate) held: bool,
    /// True if its headers are not as any version wrote them.
    pub(crate) broken: bool,
    pub(crate) message: OutboxMessage,
}

/// The rows that one read takes.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// The ranges that this relay holds.
    pub(crate) ranges: Vec<i16>,
    /// The lanes that it has rows of already.
    pub(crate) busy: Vec<i64>,
    pub(crate) rows: usize,
    /// A read ends with the row that reaches so many bytes of payload.
    pub(crate) bytes: usize,
}

/// A row to park: its reason, or none for one that waits behind it.
#[derive(Debug, Clone)]
pub(crate) struct ToPark {
    pub(crate) id: i64,
    pub(crate) lane: i64,
    pub(crate) reason: Option<String>,
}

/// The state that relays tell each other.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Presence {
    /// The live relays, this one among them.
    pub(crate) relays: usize,
    pub(crate) lag: OutboxLag,
}

/// A message that is parked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Parked {
    /// The number of its row, which [`Outbox::redrive`](crate::Outbox::redrive) takes.
    pub row: i64,
    /// The reason.
    pub reason: String,
    /// The moment at which it was parked, by the database's clock.
    pub at: SystemTime,
    /// The number of later messages of its key that wait behind it.
    pub behind: u64,
    /// The message.
    pub message: OutboxMessage,
}

#[async_trait]
pub(crate) trait OutboxTable: fmt::Debug + Send + Sync {
    /// The store whose claims are the locks on ranges.
    fn store(&self) -> Arc<dyn Deduplicator>;

    /// Rows in the order of their numbers, from the lowest on, without those of busy lanes. All rows of one snapshot: rows
    /// of a lane come without a gap.
    async fn read(&self, wanted: Wanted) -> Result<Vec<Row>>;

    /// Removes rows that were confirmed. Safe to repeat.
    async fn remove(&self, rows: Vec<i64>) -> Result<()>;

    /// Parks rows that are still there. One without a reason is parked if its lane has a parked row at that moment, and
    /// otherwise left.
    async fn park(&self, rows: Vec<ToPark>) -> Result<()>;

    /// Parked rows with a reason, from that row on.
    async fn parked(&self, from: i64, most: usize) -> Result<Vec<Parked>>;

    /// Puts these rows and those behind them back, in their places.
    async fn redrive(&self, rows: Vec<i64>, note: Note) -> Result<u64>;

    /// Deletes these parked rows, and puts those behind them back.
    async fn discard(&self, rows: Vec<i64>, note: Note) -> Result<u64>;

    async fn lag(&self) -> Result<OutboxLag>;

    /// Notes that this relay lives.
    async fn announce(&self, relay: [u8; 16], lease: Duration) -> Result<Presence>;

    /// Notes that it is gone.
    async fn leave(&self, relay: [u8; 16]) -> Result<()>;

    /// Keeps the size of the tables.
    async fn upkeep(&self) -> Result<()>;

    /// Ready when rows may have come, by a notification; lost ones are no matter.
    async fn changed(&self);

    /// Tells relays, here and in other processes, that rows have come.
    fn wake(&self);
}
