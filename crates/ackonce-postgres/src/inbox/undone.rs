//! The reason for which a whole transaction of an inbox was rolled back.

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Failure};

use crate::error::undone;
use crate::sql_error::SqlError;

const ENDED: &str = "postgres: the handler ended the transaction by a statement of its own";
const SWALLOWED: &str = "a statement failed and the handler answered success; PostgreSQL refused all later ones \
                         (use a savepoint around statements that may fail)";

/// The reason for which a whole transaction was rolled back.
#[derive(Debug)]
pub(super) enum Undone {
    /// None of its messages caused it.
    All(Error),
    /// The answer for each message, made from the error.
    Each(fn(&Error) -> Failure, Error),
}

impl From<Error> for Undone {
    fn from(error: Error) -> Self {
        Self::All(error)
    }
}

impl Undone {
    /// A handler has ended the transaction, with an unknown result.
    pub(super) fn ended() -> Self {
        Self::Each(|error| Failure::unknown(error.clone()), ended())
    }

    /// The claim of one message was taken over, and its neighbours are rolled back with it.
    pub(super) fn taken_over() -> Self {
        let message = "postgres: rolled back together with a message whose claim was taken over";
        Self::All(Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe))
    }
}

/// The error of a transaction that its handler has ended.
pub(super) fn ended() -> Error {
    Error::new(ErrorKind::Protocol, ENDED)
}

/// The store's statement after a handler's success was refused, because a statement of the handler failed or
/// because the whole transaction has ended.
pub(super) fn swallowed(error: SqlError) -> Result<Failure, Undone> {
    match error.code() {
        Some("25P02") => Ok(Failure::Retry(SWALLOWED.into())),
        _ => Err(lost(error)),
    }
}

/// A missing savepoint or transaction means that the handler has ended it, with an unknown result. Otherwise the
/// connection is lost, and the transaction with it.
pub(super) fn lost(error: SqlError) -> Undone {
    match error.code() {
        Some("3B001" | "25P01") => Undone::ended(),
        // The statement was one on a savepoint that was set.
        None if error.is_code_hidden() => Undone::ended(),
        _ => Undone::All(undone("running an inbox transaction", error)),
    }
}
