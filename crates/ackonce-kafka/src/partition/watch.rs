//! The observations of one partition, made by the poll thread.

use std::time::Instant;

/// The observations of one partition, made by the poll thread.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Since when an offset was given to the driver and the broker has not confirmed it.
    unconfirmed: Option<Instant>,
    /// Since when there has been lag and no reason for it.
    pub(crate) stalled: Option<Instant>,
    /// When the partition was last named in the log.
    pub(crate) said: Option<Instant>,
}

impl Watch {
    pub(crate) fn stored(&mut self, now: Instant) {
        self.unconfirmed.get_or_insert(now);
    }

    pub(crate) fn confirmed(&mut self) {
        self.unconfirmed = None;
    }

    pub(crate) fn is_unconfirmed(&self) -> bool {
        self.unconfirmed.is_some()
    }
}
