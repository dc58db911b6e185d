//! The classification of an inbox handler's answer, given the failures that SQLite met meanwhile.

use std::any::Any;

use ackonce::adapter::panic_text;
use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Failure};
use rusqlite::Transaction;

use super::transaction::FailedStatement;
use crate::error::breaks_connection;

/// The extent to which a handler's work was undone.
pub(super) enum Rollback {
    /// Only this message.
    Item(Failure),
    /// The whole group; with the culprit's own answer if the handler caused it.
    Group(Error, Option<Failure>),
}

impl From<Error> for Rollback {
    fn from(error: Error) -> Self {
        Self::Group(error, None)
    }
}

/// Returns the answer of a handler, or the rollback that the failures require.
pub(super) fn classify_answer<T>(
    tx: &Transaction<'_>,
    answer: Result<T, Failure>,
    failed: Option<FailedStatement>,
) -> Result<T, Rollback> {
    let environment = match (&failed, &answer) {
        (Some(FailedStatement { environment: Some(e), .. }), _) => Some(e.clone()),
        (_, Err(failure)) => environment_of(failure),
        _ => None,
    };
    if let Some(error) = environment {
        if breaks_connection(&error) || tx.is_autocommit() {
            return Err(Rollback::Group(error, None));
        }
        return Err(Rollback::Item(Failure::Store(error)));
    }
    let answer = match (answer, failed) {
        (Ok(_), Some(failed)) => Err(Failure::Retry(
            format!(
                "a statement failed and the handler answered success (unwatched() is for those that may): {}",
                failed.text
            )
            .into(),
        )),
        (answer, _) => answer,
    };
    if !tx.is_autocommit() {
        return answer.map_err(Rollback::Item);
    }
    let message =
        "sqlite: an inbox handler's statement rolled the whole group back (ROLLBACK conflict clause?)";
    let error = Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe);
    let failure = answer.err().unwrap_or_else(|| Failure::Retry(message.into()));
    Err(Rollback::Group(error, Some(failure)))
}

/// The failure of the disk or the file that a handler returned as its own failure, however wrapped.
fn environment_of(failure: &Failure) -> Option<Error> {
    let error = failure.causes().find_map(|cause| cause.downcast_ref::<rusqlite::Error>())?;
    FailedStatement::of(error).environment
}

/// The failure of a handler that panicked: its work is rolled back, so it runs again.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Failure {
    Failure::Retry(format!("the handler panicked: {}", panic_text(panic)).into())
}
