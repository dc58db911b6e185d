//! The classification of an inbox handler's answer.

use ackonce::Failure;
use ackonce::adapter::panic_text;

use super::session::{HandlerRun, SqlSession};
use crate::error::trouble;

/// Returns the handler's answer, or a failure with the text of its panic. A server error that it passed on as its own
/// failure, however wrapped, is not its fault.
pub(super) fn classify_answer<S: SqlSession, T>(ran: HandlerRun<T>) -> Result<T, Failure> {
    let failure = match ran {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(failure)) => failure,
        Err(panic) => {
            return Err(Failure::Retry(format!("the handler panicked: {}", panic_text(&*panic)).into()));
        }
    };
    let trouble = failure.causes().find_map(|cause| S::read_error(cause).and_then(trouble));
    Err(trouble.map_or(failure, Failure::Store))
}
