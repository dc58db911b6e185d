//! The return value of an inbox handler.

use ackonce::Failure;
use bytes::Bytes;

use crate::request::fits;

/// The return value of an inbox handler: `()`, or the outcome to replay to a later copy of the message.
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
    fits(outcome.as_ref().map_or(0, Bytes::len)).map_err(Failure::permanent)?;
    Ok(outcome)
}
