//! The classification of an inbox handler's answer.

use std::any::Any;

use ackonce::Failure;
use ackonce::adapter::panic_text;

use crate::error::in_handler;

/// Returns the handler's answer, or a failure with the text of its panic. A server error that it passed on as its own
/// failure, however wrapped, is not its fault.
pub(crate) fn classify_answer<T>(ran: Result<Result<T, Failure>, Box<dyn Any + Send>>) -> Result<T, Failure> {
    let failure = match ran {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(failure)) => failure,
        Err(panic) => {
            return Err(Failure::Retry(format!("the handler panicked: {}", panic_text(&*panic)).into()));
        }
    };
    let trouble = failure.causes().find_map(in_handler);
    Err(trouble.map_or(failure, Failure::Store))
}
