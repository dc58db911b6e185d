//! The promise, by class. The class follows from the handler's type, so it is chosen in code.

use std::fmt;

/// The promise about one handler's effects.
///
/// ```
/// use ackonce::{AtMostOnce, Class, Context, Failure, Handler, Keyed};
///
/// let charge = |_cx: Context, _card: String| async { Ok::<(), Failure>(()) };
/// assert_eq!(Handler::<String>::class(&charge), Class::Leased);
/// assert_eq!(Keyed(charge).class(), Class::Keyed);
/// assert_eq!(AtMostOnce(charge).class(), Class::AtMostOnce);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Recorded, then run: an effect may be lost, it is never doubled.
    AtMostOnce,
    /// Claimed, run, completed: never lost; doubled only when a worker dies or stalls between effect and
    /// record, and each such case is counted. The default.
    Leased,
    /// Leased, and the handler passes [`Context::idempotency_key`](crate::Context::idempotency_key) or the
    /// fence on: never doubled while the target honours it.
    Keyed,
    /// Effect and record commit in one database transaction: never lost, never doubled within the window.
    Inbox,
}

impl Class {
    /// The word used on command lines, in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AtMostOnce => "at-most-once",
            Self::Leased => "leased",
            Self::Keyed => "keyed",
            Self::Inbox => "inbox",
        }
    }

    /// The promise in a sentence, as printed when a consumer starts.
    #[must_use]
    pub fn promise(self) -> &'static str {
        match self {
            Self::AtMostOnce => "lost: possible; doubled: never",
            Self::Leased => {
                "lost: never; doubled: only when a worker dies or stalls between effect and record"
            }
            Self::Keyed => "lost: never; doubled: never while the target honours the idempotency key",
            Self::Inbox => "lost: never; doubled: never within the window",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
