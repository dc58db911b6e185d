//! The times at which a consumer last made progress, as its channels note them and its health reads them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::log::Seldom;

/// The interval at which messages that are given back are named in the log.
const GIVEN_BACK: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Progress {
    start: Instant,
    /// When the loop last turned, and when a delivery last changed, in milliseconds since `start`.
    pub(crate) turned: AtomicU64,
    progressed: AtomicU64,
    given_back: Seldom,
}

impl Progress {
    pub(crate) fn new(start: Instant) -> Self {
        let (turned, progressed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { start, turned, progressed, given_back: Seldom::default() }
    }

    pub(crate) fn turned(&self) {
        self.stamp(&self.turned);
    }

    pub(crate) fn progressed(&self) {
        self.stamp(&self.progressed);
    }

    pub(crate) fn since_turn(&self) -> Duration {
        self.since(&self.turned)
    }

    pub(crate) fn idle(&self) -> Duration {
        self.since(&self.progressed)
    }

    /// How many deliveries were given back near the consumer time-out since the last log line, if it is time for one.
    pub(crate) fn say_given_back(&self) -> Option<u64> {
        self.given_back.say(GIVEN_BACK)
    }

    fn since(&self, stamp: &AtomicU64) -> Duration {
        self.start.elapsed().saturating_sub(Duration::from_millis(stamp.load(Ordering::Relaxed)))
    }

    fn stamp(&self, stamp: &AtomicU64) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        stamp.store(now, Ordering::Relaxed);
    }
}
