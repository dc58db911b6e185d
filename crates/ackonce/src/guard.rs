//! The inbox's vocabulary for callers who own the transaction: the settings and the answer of a guard.

use std::time::Duration;

use crate::fingerprint::Fingerprint;
use crate::record::Record;
use crate::store_settings::Names;

/// The window of a record unless another one is set: 7 days.
pub const DEFAULT_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// The settings of a guard: a claim inside a transaction that the caller owns.
///
/// ```
/// use std::time::Duration;
/// use ackonce::store::{GuardOptions, Names};
///
/// let options = GuardOptions::default().with_window(Duration::from_secs(30 * 24 * 3600)).with_names(Names::Keep);
/// # assert_eq!(options.names(), Names::Keep);
/// ```
#[derive(Debug, Clone)]
pub struct GuardOptions {
    window: Duration,
    fingerprint: Option<Fingerprint>,
    names: Names,
}

impl Default for GuardOptions {
    /// A window of 7 days, no fingerprint, [`Names::Buried`].
    fn default() -> Self {
        Self { window: DEFAULT_WINDOW, fingerprint: None, names: Names::Buried }
    }
}

impl GuardOptions {
    /// Sets the time for which the message is remembered, from its completion (default 7 days).
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// Sets the payload's fingerprint, so that the same ID with another payload is noticed (default: not compared).
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// Sets the storage of scope and message ID in readable form (default [`Names::Buried`]: a record that a guard
    /// completes keeps neither).
    #[must_use]
    pub fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// The time for which the message is remembered.
    #[must_use]
    pub fn window(&self) -> Duration {
        self.window
    }

    /// The payload's fingerprint.
    #[must_use]
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint
    }

    /// The storage of scope and message ID.
    #[must_use]
    pub fn names(&self) -> Names {
        self.names
    }
}

/// The answer to a guard's claim; `G` is the guard. Exhaustive on purpose, as [`Claimed`](crate::store::Claimed) is.
///
/// ```
/// use ackonce::store::Entered;
///
/// /// True if the message may be acknowledged; the caller's transaction is rolled back in all other cases.
/// fn acknowledge<G>(entered: &Entered<G>) -> bool {
///     match entered {
///         Entered::First(_) => false,      // only after the commit
///         Entered::Duplicate(_) => true,
///         Entered::Busy { .. } => false,
///         Entered::Mismatch(_) => false,
///     }
/// }
/// # assert!(!acknowledge(&Entered::First(())));
/// ```
#[derive(Debug)]
pub enum Entered<G> {
    /// The message has not been processed: do so in this transaction, finish the guard, then commit.
    First(G),
    /// The message was processed or buried before: roll back and acknowledge.
    Duplicate(Record),
    /// A worker of the store holds a live lease: roll back, **never acknowledge**, and try again later.
    Busy {
        /// The time until the lease ends, unless its holder extends it.
        free_in: Duration,
    },
    /// The ID was used with another payload; the record is that of the first message. Roll back; bury the message, or
    /// fail.
    Mismatch(Record),
}

impl<G> Entered<G> {
    /// The same answer with another guard, such as one that wraps this one.
    pub fn map<T>(self, wrap: impl FnOnce(G) -> T) -> Entered<T> {
        match self {
            Self::First(guard) => Entered::First(wrap(guard)),
            Self::Duplicate(record) => Entered::Duplicate(record),
            Self::Busy { free_in } => Entered::Busy { free_in },
            Self::Mismatch(record) => Entered::Mismatch(record),
        }
    }
}
