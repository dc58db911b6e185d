//! The return value of an inbox handler.

use ackonce::Failure;
use ackonce::store::{MAX_VALUE_LEN, value_too_long};
use bytes::Bytes;

/// The return value of an inbox handler: `()`, or the outcome to replay to a later copy of the message.
///
/// An outcome is stored with the record, in the handler's transaction; return `()` unless somebody reads it. One that is longer
/// than [`MAX_VALUE_LEN`](crate::MAX_VALUE_LEN) fails the message for good.
///
/// ```
/// use ackonce_postgres::InboxOutcome;
/// use bytes::Bytes;
///
/// assert_eq!(().into_outcome(), None);
/// assert_eq!(Bytes::from_static(b"charge 17").into_outcome(), Some(Bytes::from_static(b"charge 17")));
/// ```
pub trait InboxOutcome {
    /// The outcome to store with the record.
    fn into_outcome(self) -> Option<Bytes>;
}

impl InboxOutcome for () {
    fn into_outcome(self) -> Option<Bytes> {
        None
    }
}

impl InboxOutcome for Bytes {
    fn into_outcome(self) -> Option<Bytes> {
        Some(self)
    }
}

impl InboxOutcome for Option<Bytes> {
    fn into_outcome(self) -> Self {
        self
    }
}

/// The outcome to store; a failure if it is over the limit.
pub(super) fn outcome(returned: impl InboxOutcome) -> Result<Option<Bytes>, Failure> {
    let outcome = returned.into_outcome();
    match outcome.as_ref().map(Bytes::len).filter(|len| *len > MAX_VALUE_LEN) {
        Some(len) => Err(Failure::permanent(value_too_long("postgres", len))),
        None => Ok(outcome),
    }
}
