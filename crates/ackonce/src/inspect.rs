//! Inspection and repair: the second, small trait, for operators and the command line.

mod query;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::deduplicator::Deduplicator;
use crate::error::Result;
use crate::key::{Key, hex};
use crate::record::{Record, State};

pub use query::{Filter, PAGE_TIME, Query};

/// Inspection and repair of a store. Nothing on the path of a message needs it.
///
/// # Contract
/// - [`look`](Self::look) and [`list`](Self::list) show the records that a claim would meet: an expired one is not there.
/// - [`forget`](Self::forget) and [`redrive`](Self::redrive) never touch a live claim, so no operator can make
///   a message run twice at once. Each change is kept with its author and reason, see [`audit`](Self::audit), and
///   logged through [`Note::log`].
/// - Fences still grow after either.
///
/// ```
/// use ackonce::{MemoryStore, Scope};
/// use ackonce::store::{AdminOutcome, Filter, Inspect, Note, Query, State, RecordTarget};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = MemoryStore::new();
/// let note = Note { actor: "ada".into(), reason: "the bank is back, ticket 4711".into() };
/// // All messages that were buried for that reason run once more.
/// let (state, reason) = (Some(State::Buried), Some("bank is closed".into()));
/// let mut query = Query { filter: Filter { state, reason, ..Filter::default() }, limit: 500, after: None };
/// loop {
///     let page = store.list(&query).await?;
///     for entry in &page.entries {
///         // It does nothing if somebody has redriven the message since it was listed.
///         store.redrive(RecordTarget::Listed(entry), &note).await?;
///     }
///     match page.next {
///         Some(after) => query.after = Some(after),
///         None => break,
///     }
/// }
/// let key = Scope::new("billing/charge")?.key("evt_1")?;
/// assert_eq!(store.redrive(RecordTarget::Key(&key), &note).await?, AdminOutcome::Nothing);
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[async_trait]
pub trait Inspect: Deduplicator {
    /// The record of one key, with the times of its lease or back-off and of its expiry.
    ///
    /// # Errors
    /// The store could not answer.
    async fn look(&self, key: &Key) -> Result<Option<Entry>>;

    /// Records by a filter, a page at a time, in no particular order. A record that is there throughout is listed
    /// once; one that comes or changes meanwhile may or may not be.
    ///
    /// A page ends early, even without an entry, once it has taken the store about [`PAGE_TIME`]: the list is complete
    /// when a page has no [`next`](Page::next).
    ///
    /// # Errors
    /// The store could not answer. [`Invalid`](crate::ErrorKind::Invalid): the cursor comes from another filter or from
    /// another kind of store.
    async fn list(&self, query: &Query) -> Result<Page>;

    /// The number of records by state, and their size.
    ///
    /// # Errors
    /// The store could not answer.
    async fn stats(&self) -> Result<Stats>;

    /// The number of records by scope and state, sorted by scope; records without names are in one row. Records that
    /// expired and were not yet dropped may be counted in.
    ///
    /// # Errors
    /// The store could not answer.
    async fn scopes(&self) -> Result<Vec<ScopeStats>>;

    /// The changes by hand to a key's record, the newest last. SQL stores keep them until you delete them;
    /// others keep a bounded number, as their documentation says.
    ///
    /// # Errors
    /// The store could not answer.
    async fn audit(&self, key: &Key) -> Result<Vec<AuditEntry>>;

    /// Removes the record: the next delivery of the message runs as if it were the first.
    ///
    /// # Errors
    /// The store could not answer; repeating it is safe.
    async fn forget(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome>;

    /// Lets a done or buried message run once more: its record stays, as released with no attempts, so that
    /// its redelivery is not taken for a duplicate. The back-off of a released message ends; its attempts
    /// are kept.
    ///
    /// # Errors
    /// The store could not answer; repeating it is safe.
    async fn redrive(&self, target: RecordTarget<'_>, note: &Note) -> Result<AdminOutcome>;

    /// Drops expired records without stopping the writers, and returns their number. Correctness
    /// never waits for it: expiry is decided on read.
    ///
    /// # Errors
    /// The store could not answer; records dropped before the error stay dropped.
    async fn sweep(&self) -> Result<u64>;
}

/// The record to change by hand.
#[derive(Debug, Clone, Copy)]
pub enum RecordTarget<'a> {
    /// The record of that key, in whichever state it is.
    Key(&'a Key),
    /// A listed record, with or without names. It is changed only if its state and its fence are still as they were
    /// listed: a message that another operator has redriven meanwhile does not run twice.
    Listed(&'a Entry),
}

impl RecordTarget<'_> {
    /// The scope's name and the message ID, where they are known.
    #[must_use]
    pub fn names(&self) -> Option<(&str, &[u8])> {
        match self {
            Self::Key(key) => Some((key.scope().name(), key.id())),
            Self::Listed(entry) => entry.scope.as_deref().zip(entry.id.as_deref()),
        }
    }

    /// The state and the fence that a listed record must still have to be changed.
    #[must_use]
    pub fn still(&self) -> Option<(State, u64)> {
        match self {
            Self::Key(_) => None,
            Self::Listed(entry) => Some((entry.record.state, entry.record.fence)),
        }
    }
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
    /// Logs the change; stores call it for every one, after they have kept it.
    pub fn log(&self, operation: &'static str, target: RecordTarget<'_>, before: State) {
        let (scope, id) = match (target.names(), target) {
            (Some((scope, id)), _) => (scope, id.escape_ascii().to_string()),
            (None, RecordTarget::Listed(entry)) => ("", format!("record {}", hex(&entry.digest))),
            (None, RecordTarget::Key(_)) => ("", String::new()),
        };
        tracing::warn!(target: "ackonce", decision = operation, scope, id = %id, before = before.as_str(),
            actor = self.actor, reason = self.reason);
    }
}

/// A change of a record by hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// `forget` or `redrive`.
    pub operation: String,
    /// The person or job.
    pub actor: String,
    /// The reason.
    pub reason: String,
    /// The record's state until then.
    pub before: State,
    /// The time since the change, by the store's clock.
    pub age: Duration,
}

/// The result of changing one record by hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminOutcome {
    /// It is so now.
    Yes,
    /// There is no such record, nothing to change about it, or it has changed since it was listed.
    Nothing,
    /// It is claimed by a live lease; try again after it.
    InFlight,
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

impl Stats {
    /// The counts of all scopes together.
    #[must_use]
    pub fn of(scopes: &[ScopeStats]) -> Self {
        scopes.iter().fold(Self::default(), |all, scope| Self {
            claimed: all.claimed + scope.claimed,
            released: all.released + scope.released,
            done: all.done + scope.done,
            buried: all.buried + scope.buried,
            bytes: None,
        })
    }
}

/// The records of one scope.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScopeStats {
    /// The scope's name; `None` for all records without names.
    pub scope: Option<String>,
    /// Claimed.
    pub claimed: u64,
    /// Released.
    pub released: u64,
    /// Done.
    pub done: u64,
    /// Buried.
    pub buried: u64,
}

impl ScopeStats {
    /// Counts records of that state in.
    pub fn add(&mut self, state: State, records: u64) {
        *match state {
            State::Claimed => &mut self.claimed,
            State::Released => &mut self.released,
            State::Done => &mut self.done,
            State::Buried => &mut self.buried,
        } += records;
    }
}
