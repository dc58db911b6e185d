//! Inspection and repair: the second, small trait, for operators and the command line.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::deduplicator::Deduplicator;
use crate::error::Result;
use crate::key::Key;
use crate::record::{Record, State};

/// Inspection and repair of a store. Nothing on the path of a message needs it.
///
/// # Contract
/// - [`get`](Self::get) and [`list`](Self::list) show the records that a claim would meet: an expired one is not there.
/// - [`forget`](Self::forget) and [`redrive`](Self::redrive) never touch a live claim, so no operator can make
///   a message run twice at once. Each that changes something is written down through [`Note::audit`].
/// - Fences still grow after either.
///
/// ```
/// use ackonce::{MemoryStore, Scope};
/// use ackonce::store::{AdminOutcome, Inspect, Note, Query, State};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = MemoryStore::new();
/// // All buried messages, a page at a time.
/// let mut query = Query { state: Some(State::Buried), limit: 500, after: None };
/// loop {
///     let page = store.list(&query).await?;
///     for entry in &page.entries {
///         println!("{:?} {:?}: {:?}", entry.scope, entry.id, entry.record.reason);
///     }
///     match page.next {
///         Some(after) => query.after = Some(after),
///         None => break,
///     }
/// }
/// let note = Note { actor: "ada".into(), reason: "the bank is back, ticket 4711".into() };
/// let redriven = store.redrive(&Scope::new("billing/charge")?.key("evt_1")?, &note).await?;
/// assert_eq!(redriven, AdminOutcome::Nothing);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Inspect: Deduplicator {
    /// The record of one key.
    ///
    /// # Errors
    /// The store could not answer.
    async fn get(&self, key: &Key) -> Result<Option<Record>>;

    /// Records by state, a page at a time, in no particular order. A record that is there throughout is listed
    /// once; one that comes or changes meanwhile may or may not be.
    ///
    /// # Errors
    /// The store could not answer, or the cursor is not one of its own.
    async fn list(&self, query: &Query) -> Result<Page>;

    /// The number of records by state, and their size.
    ///
    /// # Errors
    /// The store could not answer.
    async fn stats(&self) -> Result<Stats>;

    /// Removes the record: the next delivery of the message runs as if it were the first.
    ///
    /// # Errors
    /// The store could not answer; repeating it is safe.
    async fn forget(&self, key: &Key, note: &Note) -> Result<AdminOutcome>;

    /// Lets a done or buried message run once more: its record stays, as released with no attempts, so that
    /// its redelivery is not taken for a duplicate. The back-off of a released message ends; its attempts
    /// are kept.
    ///
    /// # Errors
    /// The store could not answer; repeating it is safe.
    async fn redrive(&self, key: &Key, note: &Note) -> Result<AdminOutcome>;

    /// Drops expired records without stopping the writers, and returns their number. Correctness
    /// never waits for it: expiry is decided on read.
    ///
    /// # Errors
    /// The store could not answer; records dropped before the error stay dropped.
    async fn sweep(&self) -> Result<u64>;
}

/// The author and the reason of a change by hand. Both are written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The person or job.
    pub actor: String,
    /// The reason.
    pub reason: String,
}

impl Note {
    /// Writes the audit event; stores call it for every change. Stores on SQL keep it as a row, too.
    pub fn audit(&self, operation: &'static str, key: &Key, before: State) {
        tracing::warn!(target: "ackonce", decision = operation, scope = key.scope().name(),
            id = %key.id().escape_ascii(), before = before.as_str(), actor = self.actor, reason = self.reason);
    }
}

/// The result of changing one record by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminOutcome {
    /// It is so now.
    Yes,
    /// There is no such record, or nothing to change about it.
    Nothing,
    /// It is claimed by a live lease; try again after it.
    InFlight,
}

/// A page of records to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Only this state; `None` for all.
    pub state: Option<State>,
    /// The most entries of a page; at least 1.
    pub limit: usize,
    /// The cursor at the end of the last page.
    pub after: Option<Bytes>,
}

/// A page of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The records.
    pub entries: Vec<Entry>,
    /// The cursor of the next page; `None` after the last.
    pub next: Option<Bytes>,
}

/// One listed record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name it is filed under; of the store's own making.
    pub digest: Bytes,
    /// The scope's name, where the store keeps it.
    pub scope: Option<String>,
    /// The message ID, where the store keeps it.
    pub id: Option<Bytes>,
    /// The record.
    pub record: Record,
    /// The time until the record is forgotten.
    pub expires_in: Duration,
    /// The time for which claims are refused: the rest of the lease of a claimed record, of the back-off of a released one; else zero.
    pub free_in: Duration,
}

/// The contents of a store. Expired records that were not yet dropped may be counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Claimed.
    pub claimed: u64,
    /// Released.
    pub released: u64,
    /// Done.
    pub done: u64,
    /// Buried.
    pub buried: u64,
    /// Bytes of disk or memory it takes, all told, where it can be asked.
    pub bytes: Option<u64>,
}
