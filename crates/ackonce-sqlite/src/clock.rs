//! The store's clock: the system's, because every process that shares a file shares the host (the log's
//! shared memory requires it).
//!
//! It is read inside the write transaction, so moments are ordered as the writes are. A clock that was set back shows
//! in each record, see [`crate::records::columns`]; a clock that was set forward ends leases and windows early, as a
//! stalled worker would.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The source of a store's time.
#[derive(Clone)]
pub(crate) struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    pub(crate) fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// Microseconds since the Unix epoch.
    pub(crate) fn now(&self) -> u64 {
        micros((self.0)().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO))
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

pub(crate) fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}

/// The stored form of a moment; moments past the year 292277 are stored as that year.
pub(crate) fn moment(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}

/// True once `every` has passed since it was last true; the next period then starts now.
pub(crate) fn is_due(last: &mut Option<Instant>, every: Duration) -> bool {
    let due = last.is_none_or(|at| at.elapsed() >= every);
    if due {
        *last = Some(Instant::now());
    }
    due
}
