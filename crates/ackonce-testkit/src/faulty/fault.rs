//! The faults, their rates and their counts.

use std::time::Duration;

use crate::seed::Dice;
#[cfg(doc)]
use {crate::FaultyStore, ackonce::store::Repeat};

/// The fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Refused: nothing is applied, and the error says so ([`Repeat::Safe`]).
    Refused,
    /// The request is lost: nothing is applied, but the caller cannot know ([`Repeat::Unknown`]).
    RequestLost,
    /// The reply is lost: it is applied, but the caller cannot know ([`Repeat::Unknown`]).
    ReplyLost,
    /// Given up by the network, which delivers it all the same: the caller cannot know ([`Repeat::Unknown`]),
    /// and it is applied this much later, when the caller may long have gone on.
    AppliedLate(Duration),
    /// Applied and answered, this much later.
    Slow(Duration),
    /// Never answered, never applied: pending until dropped.
    NeverApplied,
    /// Applied, never answered: pending until dropped.
    NeverAnswered,
}

/// The rate of each [`Fault`], in calls out of a thousand. The default is never.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::MemoryStore;
/// use ackonce_testkit::{FaultyStore, Rates};
/// // Every tenth reply is lost, every twentieth call is refused.
/// let rates = Rates { reply_lost: 100, refused: 50, ..Rates::default() };
/// let store = FaultyStore::new(Arc::new(MemoryStore::new()), 7, rates);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rates {
    /// [`Fault::Refused`].
    pub refused: u16,
    /// [`Fault::RequestLost`].
    pub request_lost: u16,
    /// [`Fault::ReplyLost`].
    pub reply_lost: u16,
    /// [`Fault::AppliedLate`], by a time up to [`delay`](Self::delay).
    pub applied_late: u16,
    /// [`Fault::Slow`], by a time up to [`delay`](Self::delay).
    pub slow: u16,
    /// The longest delay.
    pub delay: Duration,
    /// [`Fault::NeverApplied`]. The caller must have a time-out, or it waits for ever.
    pub never_applied: u16,
    /// [`Fault::NeverAnswered`]. The caller must have a time-out, or it waits for ever.
    pub never_answered: u16,
}

impl Rates {
    /// One roll decides one call.
    pub(super) fn pick(&self, dice: &mut Dice) -> Option<Fault> {
        let delay = dice.between(&(Duration::ZERO..=self.delay));
        let mut roll = dice.below(1000);
        let faults = [
            (self.refused, Fault::Refused),
            (self.request_lost, Fault::RequestLost),
            (self.reply_lost, Fault::ReplyLost),
            (self.applied_late, Fault::AppliedLate(delay)),
            (self.slow, Fault::Slow(delay)),
            (self.never_applied, Fault::NeverApplied),
            (self.never_answered, Fault::NeverAnswered),
        ];
        for (rate, fault) in faults {
            if roll < u64::from(rate) {
                return Some(fault);
            }
            roll -= u64::from(rate);
        }
        None
    }
}

/// The number of faults injected so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Injected {
    /// All calls, faulty or not.
    pub calls: u64,
    /// Calls by [`Fault::Refused`].
    pub refused: u64,
    /// Calls by [`Fault::RequestLost`].
    pub requests_lost: u64,
    /// Calls by [`Fault::ReplyLost`].
    pub replies_lost: u64,
    /// Calls by [`Fault::AppliedLate`].
    pub applied_late: u64,
    /// Calls by [`Fault::Slow`].
    pub slow: u64,
    /// Calls by [`Fault::NeverApplied`].
    pub never_applied: u64,
    /// Calls by [`Fault::NeverAnswered`].
    pub never_answered: u64,
    /// Calls refused while [paused](FaultyStore::pause).
    pub while_paused: u64,
}

impl Injected {
    pub(super) fn count(&mut self, fault: Option<Fault>) {
        match fault {
            None => {}
            Some(Fault::Refused) => self.refused += 1,
            Some(Fault::RequestLost) => self.requests_lost += 1,
            Some(Fault::ReplyLost) => self.replies_lost += 1,
            Some(Fault::AppliedLate(_)) => self.applied_late += 1,
            Some(Fault::Slow(_)) => self.slow += 1,
            Some(Fault::NeverApplied) => self.never_applied += 1,
            Some(Fault::NeverAnswered) => self.never_answered += 1,
        }
    }
}
