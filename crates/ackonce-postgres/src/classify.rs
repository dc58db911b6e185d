//! The classification of an inbox handler's answer.

use std::any::Any;
use std::error::Error as StdError;

use ackonce::Failure;
use tokio_postgres::Error as PgError;

use crate::error::{in_handler, is_environment};

/// Returns the handler's answer, or a failure with the text of its panic. A server error that it passed on as its own
/// failure, however wrapped, is not its fault.
pub(crate) fn classify_answer<T>(ran: Result<Result<T, Failure>, Box<dyn Any + Send>>) -> Result<T, Failure> {
    let failure = match ran {
        Ok(Ok(outcome)) => return Ok(outcome),
        Ok(Err(failure)) => failure,
        Err(panic) => return Err(Failure::Retry(panic_text(&*panic).into())),
    };
    Err(match driver_error(&failure) {
        Some(error) if is_environment(error) => Failure::Store(in_handler(error)),
        _ => failure,
    })
}

fn driver_error(failure: &Failure) -> Option<&PgError> {
    let mut cause: Option<&(dyn StdError + 'static)> = match failure {
        Failure::Retry(e)
        | Failure::Permanent(e)
        | Failure::Infrastructure(e)
        | Failure::Unknown(e)
        | Failure::Cancelled(e) => Some(&**e),
        Failure::Fenced | Failure::Store(_) => None,
    };
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<PgError>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("(no text)"))
}
