//! The distance between publishing and relay.

use std::time::Duration;

/// Rows that wait in the outbox.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutboxLag {
    /// Rows that wait for a relay. Beyond 10,000 it is an estimate, from the row numbers.
    pub waiting: u64,
    /// The age of the oldest of them; zero without one.
    pub oldest: Duration,
    /// Rows that are parked, with those that wait behind them.
    pub parked: u64,
}
