//! Settings of a runner: lengths, limits, back-off and policies.

mod backoff;
mod policies;
#[cfg(test)]
mod tests;

use std::error::Error as StdError;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::error::{Error, ErrorKind, Result};
use crate::failure::{FailureKind, FailureKinds};

pub use self::backoff::Backoff;
pub use self::policies::{Found, OnFailure, OnMismatch, OnMissing, OnStart, OnUnknown, Probe};

/// The longest lease and the longest wait.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Settings of a runner. Start from [`Settings::default`] and change only the fields you have to.
///
/// ```
/// use std::time::Duration;
/// use ackonce::{OnUnknown, Settings};
/// let settings = Settings::default()
///     .with_lease(Duration::from_secs(60))
///     .with_attempts(3)
///     .with_on_unknown(OnUnknown::Park);
/// ```
///
/// A length of [`Duration::MAX`] means for ever, where it is allowed: [`check`](Self::check) says which ones have a limit.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Settings {
    /// The length of a claim without a heartbeat; default 15 s, at least 50 ms, at most a day. After a worker
    /// dies, its messages wait this long. A heartbeat renews it at a third.
    pub lease: Duration,
    /// The time that a settled record is remembered; default 7 days. It must outlast the latest possible
    /// redelivery: topic retention, retry ladders, dead-letter redrives, a provider's retry schedule.
    pub window: Duration,
    /// The number of attempts before a message is buried; default 15, at least 1. With the default
    /// [`backoff`](Self::backoff) that takes 12 to 14 minutes: [`rides_out`](Self::rides_out). Attempts are
    /// counted in the store at claim time, so a message that kills the process is counted. With fewer than
    /// 3, a message that ran beside such a killer may be buried with it.
    ///
    /// Without a dead-letter place ([`NoDeadLetters`](crate::adapter::NoDeadLetters)) attempts end nothing: a failure that may
    /// pass is retried at the longest back-off for as long as it takes, with a warning and a count.
    pub attempts: u32,
    /// The wait between attempts.
    pub backoff: Backoff,
    /// The longest a handler may run, heartbeats or not; default 15 minutes. After it the handler is
    /// cancelled and the outcome is unknown. The same limit holds for a [`Probe`].
    pub handler_timeout: Duration,
    /// The most handlers running at once; default 64.
    pub concurrency: usize,
    /// The most messages claimed in one trip; default 500.
    pub chunk: usize,
    /// The time for running handlers to finish at shutdown, before they are cancelled; default 20 s.
    pub shutdown_timeout: Duration,
    /// The longest that a delivery waits for another holder of its message, before it is handed back; default
    /// for ever. Never acknowledged either way.
    pub busy_timeout: Duration,
    /// The time for which a store that does not answer is asked again for one delivery, before that is handed back;
    /// default for ever. A delivery that the broker sends again anyway is best kept; a caller who waits is best told. A store
    /// that hangs is given a third of the lease at least.
    pub store_timeout: Duration,
    /// The kinds of errors that came by `?`, by their types; see [`with_failure_kind`](Self::with_failure_kind).
    pub failure_kinds: FailureKinds,
    /// The policy for a handler that fails while attempts remain.
    pub on_failure: OnFailure,
    /// The policy for the same ID with another payload.
    pub on_mismatch: OnMismatch,
    /// The policy for an effect that may have happened.
    pub on_unknown: OnUnknown,
    /// The policy at start for a server that is away or refuses.
    pub on_start: OnStart,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(15),
            window: Duration::from_secs(7 * 24 * 3600),
            attempts: 15,
            backoff: Backoff::default(),
            handler_timeout: Duration::from_secs(15 * 60),
            concurrency: 64,
            chunk: 500,
            shutdown_timeout: Duration::from_secs(20),
            busy_timeout: Duration::MAX,
            store_timeout: Duration::MAX,
            failure_kinds: FailureKinds::default(),
            on_failure: OnFailure::Retry,
            on_mismatch: OnMismatch::Bury,
            on_unknown: OnUnknown::RunAgain,
            on_start: OnStart::EndIfRefused,
        }
    }
}

macro_rules! with {
    ($($name:ident $field:ident $t:ty;)*) => {$(
        #[doc = concat!("The same with another [`", stringify!($field), "`](Self::", stringify!($field), ").")]
        #[must_use]
        pub fn $name(mut self, $field: $t) -> Self {
            self.$field = $field;
            self
        }
    )*};
}

impl Settings {
    with! {
        with_lease lease Duration;
        with_window window Duration;
        with_attempts attempts u32;
        with_backoff backoff Backoff;
        with_handler_timeout handler_timeout Duration;
        with_concurrency concurrency usize;
        with_chunk chunk usize;
        with_shutdown_timeout shutdown_timeout Duration;
        with_busy_timeout busy_timeout Duration;
        with_store_timeout store_timeout Duration;
        with_on_failure on_failure OnFailure;
        with_on_mismatch on_mismatch OnMismatch;
        with_on_unknown on_unknown OnUnknown;
        with_on_start on_start OnStart;
    }

    /// The same, with a function that sorts the errors of this type, wherever a handler's `?` meets them: whichever the
    /// handler's class, in closures, batches, inboxes, schedules and webhooks. May be called for several types.
    ///
    /// A [`Failure::Retry`](crate::Failure::Retry) is looked through from the outermost error to its sources, and the first one of a
    /// known type decides. A failure that a handler has named itself ([`Failure::permanent`](crate::Failure::permanent), say) stays as it is.
    ///
    /// An `anyhow::Error` that is turned into a [`Failure`](crate::Failure) hides the type of its outermost error (not of those below a
    /// `context`); sort those with [`MapErr`](crate::MapErr) and anyhow's own `downcast_ref`.
    ///
    /// ```
    /// use ackonce::{FailureKind, Settings};
    /// #[derive(Debug, thiserror::Error)]
    /// enum ChargeError {
    ///     #[error("the card was declined")]
    ///     Declined,
    ///     #[error("the bank is away")]
    ///     Bank(#[from] std::io::Error),
    /// }
    /// let settings = Settings::default()
    ///     .with_failure_kind(|error: &ChargeError| match error {
    ///         ChargeError::Declined => FailureKind::Permanent,
    ///         ChargeError::Bank(_) => FailureKind::Infrastructure,
    ///     })
    ///     .with_failure_kind(|_: &std::num::ParseIntError| FailureKind::Permanent);
    /// ```
    #[must_use]
    pub fn with_failure_kind<E: StdError + 'static>(
        mut self,
        kind: impl Fn(&E) -> FailureKind + Send + Sync + 'static,
    ) -> Self {
        self.failure_kinds.add(kind);
        self
    }

    /// Refuses settings that cannot work.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the setting.
    pub fn check(&self) -> Result<()> {
        let refuse = |message: &str| Err(Error::new(ErrorKind::Config, message));
        if self.lease > DAY {
            return refuse(
                "Settings::lease is over a day: the messages of a dead worker would wait that long",
            );
        }
        if self.lease < Duration::from_millis(50) {
            return refuse("Settings::lease is under 50 ms: no heartbeat could keep it");
        }
        if self.window < self.lease {
            return refuse("Settings::window is shorter than the lease: a record would be forgotten at once");
        }
        if self.attempts == 0 || self.concurrency == 0 || self.chunk == 0 {
            return refuse("Settings::attempts, concurrency and chunk must be at least 1");
        }
        if self.concurrency > Semaphore::MAX_PERMITS {
            return refuse("Settings::concurrency is over tokio's limit of usize::MAX / 8");
        }
        if self.handler_timeout.is_zero() {
            return refuse("Settings::handler_timeout is zero: every handler would be cancelled at once");
        }
        self.backoff.check()?;
        Ok(())
    }

    /// The attempt from which a message that may have killed its worker runs alone. Messages in flight
    /// beside a killer are charged with it; alone, a crash is charged to the guilty only.
    pub(crate) fn isolate_from(&self) -> u32 {
        self.attempts.saturating_sub(1).clamp(2, 4)
    }

    /// The outage of a handler's dependency that no message is buried for: how long its attempts last at least, the
    /// sum of the waits between them without their random parts. The handlers' own time comes on top. With retry topics
    /// or delay queues their delays count instead: [`rides_out_with`](Self::rides_out_with).
    ///
    /// ```
    /// use std::time::Duration;
    /// use ackonce::Settings;
    /// assert!(Settings::default().rides_out() > Duration::from_secs(12 * 60));
    /// ```
    #[must_use]
    pub fn rides_out(&self) -> Duration {
        self.backoff.before(self.attempts).0
    }

    /// The same where failed messages wait in retry topics or delay queues: `delays` in their order, the last one for all
    /// further failures.
    #[must_use]
    pub fn rides_out_with(&self, delays: &[Duration]) -> Duration {
        let Some((last, first)) = delays.split_last() else { return self.rides_out() };
        let waits = self.attempts.saturating_sub(1);
        let taken = first.iter().take(usize::try_from(waits).unwrap_or(usize::MAX));
        let sum = taken.fold(Duration::ZERO, |sum, delay| sum.saturating_add(*delay));
        let rest = waits.saturating_sub(u32::try_from(first.len()).unwrap_or(u32::MAX));
        sum.saturating_add(last.saturating_mul(rest))
    }
}
