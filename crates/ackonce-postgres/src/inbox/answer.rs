//! The classification of an inbox handler's answer.

use std::any::Any;
use std::error::Error as StdError;

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
    Err(trouble(&failure).map_or(failure, Failure::Store))
}

/// The trouble with the server that the failure comes from.
fn trouble(failure: &Failure) -> Option<ackonce::Error> {
    let cause: Option<&(dyn StdError + 'static)> = match failure {
        Failure::Retry(e)
        | Failure::Permanent(e)
        | Failure::Infrastructure(e)
        | Failure::Unknown(e)
        | Failure::Cancelled(e) => Some(&**e),
        Failure::Fenced | Failure::Store(_) => None,
    };
    std::iter::successors(cause, |error: &&(dyn StdError + 'static)| (*error).source()).find_map(in_handler)
}
