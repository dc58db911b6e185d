//! The waits between attempts.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::error::{Error, ErrorKind, Result};

use super::DAY;

/// Exponential back-off with jitter, so that workers which failed together do not come back together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The wait after the first failure; default 250 ms, more than zero.
    pub min: Duration,
    /// The longest wait; default 2 minutes, at least `min`, at most a day.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { min: Duration::from_millis(250), max: Duration::from_secs(120) }
    }
}

impl Backoff {
    /// The wait after the `n`-th failure in a row, from 1: doubling from `min` to `max`, plus up to as much
    /// again at random, cut at `max`; a day at most.
    #[must_use]
    pub fn after(&self, n: u32) -> Duration {
        // The arithmetic with random parts overflows near `Duration::MAX`.
        let max = self.max.min(DAY);
        let builder = ExponentialBuilder::new()
            .with_min_delay(self.min.min(max))
            .with_max_delay(max)
            .with_jitter()
            .without_max_times();
        // From 1 ns, 47 doublings make a day.
        let skip = n.saturating_sub(1).min(47) as usize;
        builder.build().nth(skip).unwrap_or(max).min(max)
    }

    /// When attempt `n` begins after the first one at the earliest and at the latest, if every attempt fails at once.
    #[must_use]
    pub fn before(&self, n: u32) -> (Duration, Duration) {
        let max = self.max.min(DAY);
        let (mut least, mut most, mut wait) = (Duration::ZERO, Duration::ZERO, self.min.min(max));
        for done in 1..n {
            if wait == max {
                let rest = max.saturating_mul(n - done);
                return (least.saturating_add(rest), most.saturating_add(rest));
            }
            least = least.saturating_add(wait);
            wait = wait.saturating_mul(2).min(max);
            most = most.saturating_add(wait);
        }
        (least, most)
    }

    /// Refuses waits that cannot work.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the field: a `min` of zero would ask without a pause, a `max` below `min` or over
    /// a day is a slip.
    pub fn check(&self) -> Result<()> {
        let message = match () {
            () if self.min.is_zero() => "Backoff::min is zero: a failure would be repeated without a pause",
            () if self.max < self.min => "Backoff::max is shorter than Backoff::min",
            () if self.max > DAY => "Backoff::max is over a day",
            () => return Ok(()),
        };
        Err(Error::new(ErrorKind::Config, message))
    }
}
