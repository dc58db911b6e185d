//! Why a handler did not succeed, and how an error says which failure it is.

use std::error::Error as StdError;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::chain::chain;
use crate::error::{BoxError, Error};

/// The failure of a handler, by its next step.
///
/// | failure | made by | the message | attempts |
/// |---|---|---|---|
/// | [`Retry`](Self::Retry) | `?` on any error | runs again after a back-off; buried after [`Settings::attempts`](crate::Settings::attempts), where there is a dead-letter place | count |
/// | [`Permanent`](Self::Permanent) | [`Failure::permanent`] | is buried at once | |
/// | [`Infrastructure`](Self::Infrastructure) | [`Failure::infrastructure`] | runs again after a back-off, as often as it takes | do not count |
/// | [`Unknown`](Self::Unknown) | [`Failure::unknown`], a panic | [`OnUnknown`](crate::OnUnknown) decides; by default it runs again | count |
///
/// The back-off doubles from 250 ms to 2 minutes by default, and the default attempts last 12 minutes at least
/// ([`Settings::rides_out`](crate::Settings::rides_out)). Nothing waits in a handler's slot.
///
/// # Errors that name their kind
///
/// `?` turns an error into `Retry`, because a retry harms the least where nobody has said more. Those that know more say so
/// in one of these places:
///
/// | error type | where its kind is said |
/// |---|---|
/// | any, at one place | `.map_err(Failure::permanent)?` |
/// | an own type without `std::error::Error` | `impl From<MyError> for Failure`, then `?` |
/// | an own type with it, or one of a library, wherever `?` met it: closures, [`Batch`](crate::Batch), inboxes, schedules, webhooks | [`Settings::with_failure_kind`](crate::Settings::with_failure_kind), once |
/// | the error type of an `async fn` (`anyhow::Result<()>`, `Result<(), MyError>`) | [`MapErr`](crate::MapErr) |
///
/// ```
/// use ackonce::Failure;
/// enum Rejected { Malformed(String), Busy }
/// impl From<Rejected> for Failure {
///     fn from(rejected: Rejected) -> Self {
///         match rejected {
///             Rejected::Malformed(why) => Failure::permanent(why),
///             Rejected::Busy => Failure::infrastructure("busy"),
///         }
///     }
/// }
/// fn parse(text: &str) -> Result<(), Rejected> { Err(Rejected::Malformed(text.into())) }
/// fn in_a_handler() -> Result<(), Failure> { Ok(parse("{")?) }
/// assert!(matches!(in_a_handler(), Err(Failure::Permanent(_))));
/// ```
#[derive(Debug)]
pub enum Failure {
    /// Run again after a back-off, until the attempts are used up; then bury, if there is a dead-letter place. Without
    /// one it goes on running at the longest back-off: [`NoDeadLetters`](crate::adapter::NoDeadLetters).
    Retry(BoxError),
    /// It will never succeed: bury it now.
    Permanent(BoxError),
    /// No fault of the message (a dependency is down): run again after a back-off, as often as it takes.
    Infrastructure(BoxError),
    /// The effect may have happened: [`OnUnknown`](crate::OnUnknown) decides.
    Unknown(BoxError),
    /// The run was dropped midway and may have left work behind: the claim is left to its lease, then as
    /// [`Unknown`](Self::Unknown). The runner answers this for a handler past its lease or its time.
    Cancelled(BoxError),
    /// The claim was taken over and the effect rolled back: ask the store again. For inboxes.
    Fenced,
    /// The store failed in the handler's own transaction: ask it again for the outcome. For inboxes.
    Store(Error),
}

impl Failure {
    /// [`Permanent`](Self::Permanent) with this reason.
    pub fn permanent(error: impl Into<BoxError>) -> Self {
        Self::Permanent(error.into())
    }

    /// [`Infrastructure`](Self::Infrastructure) with this reason.
    pub fn infrastructure(error: impl Into<BoxError>) -> Self {
        Self::Infrastructure(error.into())
    }

    /// [`Unknown`](Self::Unknown) with this reason.
    pub fn unknown(error: impl Into<BoxError>) -> Self {
        Self::Unknown(error.into())
    }

    /// The same, to run again no earlier than after `pause`, because the handler's target asked for that (the header
    /// `Retry-After`); cut at a day. A shorter pause than the back-off changes nothing. It holds for failures that the
    /// runner retries itself: one that is handed back comes again when its sender sends it.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ackonce::Failure;
    /// let busy = Failure::infrastructure("answered 429 Too Many Requests").not_before(Duration::from_secs(30));
    /// assert_eq!(busy.to_string(), "the target asks for a pause of 30s: answered 429 Too Many Requests");
    /// ```
    #[must_use]
    pub fn not_before(self, pause: Duration) -> Self {
        match self {
            failure @ (Self::Retry(_) | Self::Infrastructure(_) | Self::Unknown(_)) => {
                failure.map_reason(|reason| Box::new(AskedPause { pause, reason }))
            }
            other => other,
        }
    }

    /// The same failure with another reason.
    pub(crate) fn map_reason(self, other: impl FnOnce(BoxError) -> BoxError) -> Self {
        match self {
            Self::Retry(reason) => Self::Retry(other(reason)),
            Self::Permanent(reason) => Self::Permanent(other(reason)),
            Self::Infrastructure(reason) => Self::Infrastructure(other(reason)),
            Self::Unknown(reason) => Self::Unknown(other(reason)),
            Self::Cancelled(reason) => Self::Cancelled(other(reason)),
            Self::Fenced | Self::Store(_) => self,
        }
    }

    /// A failure of a run in which a step was dropped midway: its effect may have happened.
    pub(crate) fn after_dropped(self, step: &str) -> Self {
        match self {
            Self::Retry(reason) | Self::Infrastructure(reason) => {
                Self::Unknown(format!("step {step:?} was dropped midway: {}", chain(&*reason)).into())
            }
            other => other,
        }
    }

    /// The pause that the target asked for, by [`not_before`](Self::not_before); zero where it asked for none.
    #[must_use]
    pub fn asked_pause(&self) -> Duration {
        let asked = self.causes().find_map(|cause| cause.downcast_ref::<AskedPause>());
        asked.map_or(Duration::ZERO, |asked| asked.pause.min(DAY))
    }

    /// The error that the handler returned and its causes, the outermost first. There are none for
    /// [`Fenced`](Self::Fenced) and [`Store`](Self::Store), which no error of the handler made.
    ///
    /// ```
    /// use std::io;
    /// use ackonce::Failure;
    ///
    /// let failure = Failure::from(io::Error::from(io::ErrorKind::StorageFull));
    /// assert!(failure.causes().any(|cause| cause.is::<io::Error>()));
    /// ```
    pub fn causes(&self) -> impl Iterator<Item = &(dyn StdError + 'static)> {
        let error: Option<&(dyn StdError + 'static)> = match self {
            Self::Retry(e)
            | Self::Permanent(e)
            | Self::Infrastructure(e)
            | Self::Unknown(e)
            | Self::Cancelled(e) => Some(&**e),
            Self::Fenced | Self::Store(_) => None,
        };
        std::iter::successors(error, |error: &&(dyn StdError + 'static)| (*error).source())
    }
}

/// The longest pause.
const DAY: Duration = Duration::from_secs(24 * 3600);

/// A reason together with the pause that the target asked for.
#[derive(Debug)]
struct AskedPause {
    pause: Duration,
    reason: BoxError,
}

impl fmt::Display for AskedPause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the target asks for a pause of {:?}", self.pause)
    }
}

impl StdError for AskedPause {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.reason)
    }
}

impl<E: Into<BoxError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

/// With the causes of its reason: a failure is no error itself, and has no source.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(e)
            | Self::Permanent(e)
            | Self::Infrastructure(e)
            | Self::Unknown(e)
            | Self::Cancelled(e) => chain(&**e).fmt(f),
            Self::Fenced => f.write_str("the claim was taken over"),
            Self::Store(e) => chain(e).fmt(f),
        }
    }
}

/// The kind of an error type, for [`Settings::with_failure_kind`](crate::Settings::with_failure_kind).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// [`Failure::Retry`].
    Retry,
    /// [`Failure::Permanent`].
    Permanent,
    /// [`Failure::Infrastructure`].
    Infrastructure,
    /// [`Failure::Unknown`].
    Unknown,
}

type Sort = dyn Fn(&(dyn StdError + 'static)) -> Option<FailureKind> + Send + Sync;

/// The kinds of errors, by their types; see [`Settings::with_failure_kind`](crate::Settings::with_failure_kind).
#[derive(Clone, Default)]
pub struct FailureKinds(Vec<Arc<Sort>>);

impl FailureKinds {
    pub(crate) fn add<E: StdError + 'static>(
        &mut self,
        kind: impl Fn(&E) -> FailureKind + Send + Sync + 'static,
    ) {
        self.0.push(Arc::new(move |error| error.downcast_ref::<E>().map(&kind)));
    }

    /// Sorts a failure that nobody has sorted: one that came by `?`. The runner does so with a handler's answers.
    #[must_use]
    pub fn sort(&self, failure: Failure) -> Failure {
        match failure {
            // The functions are the user's: one that panics costs its message an attempt, and not the consumer.
            Failure::Retry(error) if !self.0.is_empty() => match self.kind_or_panic(&*error) {
                FailureKind::Retry => Failure::Retry(error),
                FailureKind::Permanent => Failure::Permanent(error),
                FailureKind::Infrastructure => Failure::Infrastructure(error),
                FailureKind::Unknown => Failure::Unknown(error),
            },
            sorted => sorted,
        }
    }

    fn kind_or_panic(&self, error: &(dyn StdError + 'static)) -> FailureKind {
        catch_unwind(AssertUnwindSafe(|| self.kind(error))).unwrap_or_else(|_| {
            tracing::error!(target: "ackonce", "a function of Settings::with_failure_kind panicked; the failure is retried");
            FailureKind::Retry
        })
    }

    /// The outermost error of a known type decides: it knows of those that it holds.
    fn kind(&self, error: &(dyn StdError + 'static)) -> FailureKind {
        let chain = std::iter::successors(Some(error), |error: &&(dyn StdError + 'static)| (*error).source());
        let mut kinds = chain.filter_map(|error| self.0.iter().find_map(|sort| sort(error)));
        kinds.next().unwrap_or(FailureKind::Retry)
    }
}

impl fmt::Debug for FailureKinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "of {} types", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_for_failure_kinds_that_panics_leaves_a_failure_to_retry() {
        let mut kinds = FailureKinds::default();
        kinds.add(|_: &std::io::Error| panic!("of the user's"));
        let failure = kinds.sort(Failure::from(std::io::Error::other("away")));
        assert!(matches!(failure, Failure::Retry(_)), "{failure}");
    }
}
