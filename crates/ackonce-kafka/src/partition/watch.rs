//! The observations of one partition, made by the poll thread.

use std::time::Instant;

/// The observations of one partition, made by the poll thread.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    /// Since when there has been lag and no reason for it.
    pub(crate) stalled: Option<Instant>,
    /// When the partition was last named in the log.
    pub(crate) said: Option<Instant>,
}
