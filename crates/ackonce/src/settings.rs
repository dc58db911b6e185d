//! Settings of a runner: lengths, limits, and policies for the cases that have no single right answer.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use backon::{BackoffBuilder, ExponentialBuilder};
use tokio::sync::Semaphore;

use crate::context::Context;
use crate::error::{Error, ErrorKind, Result};
use crate::failure::{FailureKind, FailureKinds};

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
    /// or delay queues their delays count instead.
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
}

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

/// The policy for a handler that fails while attempts remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Keep the delivery and run it again after the back-off.
    #[default]
    Retry,
    /// Release the claim and hand the delivery back at once: its sender will send it again. After a failure that does
    /// not count as an attempt ([`Failure::Infrastructure`](crate::Failure::Infrastructure)) the next payload under the same
    /// ID may be another one, unless an earlier attempt counted or vanished.
    HandBack,
}

/// The policy for a message that has no usable ID. A broker's consumer buries it where there is a dead-letter place, and
/// stops where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Bury it, with the reason. Without an ID, nobody can tell whether two deliveries are one message, so each is a record
    /// of its own. Without a dead-letter place, the record with its reason is all that is kept of the payload.
    Bury,
    /// End the consumer with an error that names the message's place. The message stays at the broker; messages delivered
    /// before it, or beside it, still run, and nothing is acknowledged past it.
    Stop,
}

/// The policy for the same ID with another payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMismatch {
    /// Bury it with the reason. The first message's record stays as it is. Without a dead-letter place, where the second
    /// payload would be given up, this is [`Fail`](Self::Fail).
    #[default]
    Bury,
    /// Stop the consumer with an error; nothing is acknowledged.
    Fail,
    /// Hand the delivery back, for a caller who can be told.
    HandBack,
}

/// The policy for an effect that may have happened: the worker died or stalled with the claim, the handler
/// panicked, was cancelled or said so.
#[derive(Clone, Default)]
pub enum OnUnknown {
    /// Run it again, while attempts remain; for as long as it takes where there is no dead-letter place. Right for
    /// idempotent, keyed and inbox effects.
    #[default]
    RunAgain,
    /// Bury it for a person to look at. Right where doubling is worse than waiting.
    Park,
    /// Ask whether it happened.
    Ask(Arc<dyn Probe>),
}

impl fmt::Debug for OnUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RunAgain => "RunAgain",
            Self::Park => "Park",
            Self::Ask(_) => "Ask",
        })
    }
}

/// The policy at start for a broker or a store that cannot be used yet; for a store, see
/// [`connect_at_start`](crate::connect_at_start).
///
/// A consumer that waits says so once and asks again with a back-off of up to ten seconds. Once it has started it
/// always waits: a server that worked will work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStart {
    /// Wait for a server that is away, and for one that refuses the credentials or a right.
    Wait,
    /// Wait for a server that is away or a topic that does not exist yet; end with an error if the server refuses the
    /// credentials or a right. The default.
    #[default]
    EndIfRefused,
    /// End with an error for anything that cannot be used at once, for a supervisor that restarts it.
    End,
}

/// Answers whether an effect happened, by asking the effect's target.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The fate of this message's effect. Called under the claim, before the handler would run again.
    async fn probe(&self, cx: &Context) -> Found;
}

/// The finding of a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It happened: record it, do not run again.
    Happened,
    /// It did not, and will not: run again.
    NotHappened,
    /// It cannot be told: bury it for a person.
    CannotTell,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_would_overflow_are_refused_by_name() {
        let backoff = |min, max| Settings::default().with_backoff(Backoff { min, max });
        let (ms, most) = (Duration::from_millis(1), Duration::MAX);
        let refused = [
            (Settings::default().with_lease(most), "Settings::lease"),
            (Settings::default().with_lease(DAY + ms), "Settings::lease"),
            (Settings::default().with_lease(Duration::ZERO), "Settings::lease"),
            (Settings::default().with_handler_timeout(Duration::ZERO), "Settings::handler_timeout"),
            (Settings::default().with_concurrency(usize::MAX), "concurrency"),
            (backoff(ms, most), "Backoff::max"),
            (backoff(most, most), "Backoff::max"),
            (backoff(most, ms), "Backoff::max"),
            (backoff(Duration::ZERO, ms), "Backoff::min"),
        ];
        for (settings, name) in refused {
            let error = settings.check().unwrap_err();
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(name), "{error}");
        }
        let for_ever = Settings::default()
            .with_lease(DAY)
            .with_window(most)
            .with_handler_timeout(most)
            .with_shutdown_timeout(most)
            .with_busy_timeout(most)
            .with_store_timeout(most);
        for_ever.check().unwrap();
    }

    #[test]
    fn a_back_off_grows_to_its_longest_and_never_overflows() {
        let backoff = Backoff { min: Duration::from_millis(100), max: Duration::from_secs(30) };
        for n in 0..=u32::from(u8::MAX) {
            let least = backoff.min.saturating_mul(1 << n.saturating_sub(1).min(20)).min(backoff.max);
            assert!((least..=backoff.max).contains(&backoff.after(n)), "{n}");
        }
        for (min, max) in [(Duration::MAX, Duration::MAX), (Duration::from_nanos(1), Duration::MAX)] {
            assert_eq!(Backoff { min, max }.after(u32::MAX), DAY);
        }
    }
}
