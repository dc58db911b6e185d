//! The store's clock: the system's, because every process that shares a file shares the host (the log's
//! shared memory requires it).
//!
//! It is read inside the write transaction, so moments are ordered as the writes are. A clock that was set
//! back is noticed per record, see [`crate::rows`]; one that was set forward ends leases and windows early,
//! as a stalled worker would.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds since the Unix epoch.
pub(crate) fn now() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
}

pub(crate) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
