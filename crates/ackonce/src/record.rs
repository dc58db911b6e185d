//! A store's record of a key.

use std::time::Duration;

use bytes::Bytes;

use crate::error::Result;
use crate::fingerprint::Fingerprint;
use crate::journal::{self, RecordedStep};

/// A store's record of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The state of the key.
    pub state: State,
    /// The fence of its last claim.
    pub fence: u64,
    /// The number of attempts counted.
    pub attempt: u32,
    /// The payload's fingerprint, if the claim had one; a store may keep a prefix and pad it with zeros.
    pub fingerprint: Option<Fingerprint>,
    /// The handler's outcome, if it was kept.
    pub outcome: Option<Bytes>,
    /// The progress that its attempts saved, as long as it is not done: [`Settle::Save`](crate::store::Settle::Save).
    pub progress: Option<Bytes>,
    /// Why it was buried.
    pub reason: Option<String>,
    /// The time since its last claim, by the store's clock.
    pub age: Duration,
}

impl Record {
    /// The finished steps of its message, in the order in which they finished: those of a message that is not done.
    ///
    /// # Errors
    /// Its progress was written by a newer version, or holds something else: [`ErrorKind`](crate::ErrorKind) says which.
    ///
    /// ```
    /// use ackonce::store::Record;
    ///
    /// fn show(record: &Record) -> ackonce::Result<()> {
    ///     for step in record.steps()? {
    ///         println!("{} (version {}): {}", step.name, step.version, step.outcome.escape_ascii());
    ///     }
    ///     Ok(())
    /// }
    /// ```
    pub fn steps(&self) -> Result<Vec<RecordedStep>> {
        self.progress.as_ref().map_or(Ok(Vec::new()), journal::read)
    }
}

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Claimed; the lease may have ended.
    Claimed,
    /// Handed back; the next claim is granted, once its back-off is over.
    Released,
    /// Its effect happened.
    Done,
    /// It will never succeed; settled, with a reason.
    Buried,
}

impl State {
    /// All states, in the order of a message's life.
    pub const ALL: [Self; 4] = [Self::Claimed, Self::Released, Self::Done, Self::Buried];

    /// The state of that [word](Self::as_str).
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }

    /// The word used in logs, metrics and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Released => "released",
            Self::Done => "done",
            Self::Buried => "buried",
        }
    }
}
