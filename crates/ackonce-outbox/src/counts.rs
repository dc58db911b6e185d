//! The decisions of a relay.

/// The decisions of a relay since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxCounts {
    /// Messages published and confirmed.
    pub published: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Messages parked for a reason of their own.
    pub parked: u64,
}
