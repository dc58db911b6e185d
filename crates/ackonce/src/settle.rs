//! Ending or changing a claim.

use std::time::Duration;

use bytes::Bytes;

use crate::claim::{Lease, Token};
use crate::key::Key;

/// One settlement of one lease.
///
/// ```
/// use std::time::Duration;
/// use ackonce::store::{Attempt, Lease, Settle, Settlement};
///
/// /// Hands a failed message back: it is busy for a minute, and the attempt counts.
/// fn retry_later(lease: &Lease) -> Settlement {
///     let minute = Duration::from_secs(60);
///     let window = Duration::from_secs(7 * 24 * 3600);
///     Settlement::new(lease, Settle::Release { attempt: Attempt::Counts, window, not_before: minute })
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The message.
    pub key: Key,
    /// The attempt that holds the lease.
    pub token: Token,
    /// The fence it was given; an old one changes nothing.
    pub fence: u64,
    /// The change.
    pub action: Settle,
}

impl Settlement {
    /// `action` on that lease.
    #[must_use]
    pub fn new(lease: &Lease, action: Settle) -> Self {
        Self { key: lease.key.clone(), token: lease.token, fence: lease.fence, action }
    }
}

/// The change of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settle {
    /// The effect happened: remember the key for `window` from now, with the outcome to replay.
    Complete {
        /// The time for which the record is remembered.
        window: Duration,
        /// The handler's outcome, where the caller wants it replayed.
        outcome: Option<Bytes>,
    },
    /// Hand it back. Until `not_before` has passed every claim is answered [`Busy`](crate::store::Claimed::Busy) with the time
    /// that is left; the next one after that is granted.
    Release {
        /// Counts the attempt, or gives it back.
        attempt: Attempt,
        /// The time for which the trail is remembered, from the end of `not_before`.
        window: Duration,
        /// The back-off, from now, by the store's clock. It belongs to the message and not to the delivery that failed:
        /// another copy in hand would use up the attempts meanwhile. Zero for a claim that is handed back.
        not_before: Duration,
    },
    /// Hold it for `lease` from now.
    Extend {
        /// The new length, by the store's clock.
        lease: Duration,
        /// The time after the lease for which the trail is remembered.
        window: Duration,
    },
    /// It will never succeed: remember it as settled, with the reason.
    Bury {
        /// The time for which the record is remembered.
        window: Duration,
        /// Why, in a line that an operator will read.
        reason: String,
    },
    /// It goes on, and this much of it is done: the progress of the message, which the next [`Lease`] of the key brings
    /// along, whoever acquires it. It replaces earlier progress unless it is shorter: progress only grows, so a shorter
    /// one is an earlier copy that comes late, and changes nothing. A completion ends it; a release, a lapsed lease, a
    /// burial and a redrive keep it. Lease and window stay as they are.
    Save {
        /// The whole of it so far.
        progress: Bytes,
    },
    /// Its dead letter has come back: the message that this very claim has buried is released, with no attempts counted and no payload
    /// known, for that may have been mended, and the next claim is granted. A record that was buried by a later claim, or redriven before, is not changed.
    Redrive {
        /// The time for which the trail is remembered, from now.
        window: Duration,
    },
}

/// A released attempt's part in the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// The handler ran and failed.
    Counts,
    /// It never ran, or failed for no fault of the message: the count goes back by one.
    Refunded,
}

/// The answer to a settlement. Exhaustive on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// It is so, now or since an earlier copy of the same settlement.
    Yes,
    /// Fenced off: somebody else claimed the key since, it was settled otherwise, or its trail is gone.
    /// Nothing was changed.
    Lost,
}
