//! The verdict on an inbox handler's answer, given the failures that SQLite met meanwhile.

use std::any::Any;
use std::error::Error as StdError;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Failure};
use rusqlite::Transaction;

use crate::error::breaks_connection;
use crate::run::Undone;
use crate::tx::Failed;

/// Decides about the answer of a handler.
pub(crate) fn classify_answer<T>(
    tx: &Transaction<'_>,
    ran: Result<T, Failure>,
    failed: Option<Failed>,
) -> Result<T, Undone> {
    let environment = match (&failed, &ran) {
        (Some(Failed { environment: Some(e), .. }), _) => Some(e.clone()),
        (_, Err(failure)) => environment_of(failure),
        _ => None,
    };
    if let Some(error) = environment {
        if breaks_connection(&error) || tx.is_autocommit() {
            return Err(Undone::Group(error, None));
        }
        return Err(Undone::Item(Failure::Store(error)));
    }
    let ran = match (ran, failed) {
        (Ok(_), Some(failed)) => Err(Failure::Retry(
            format!(
                "a statement failed and the handler answered success (unwatched() is for those that may): {}",
                failed.text
            )
            .into(),
        )),
        (ran, _) => ran,
    };
    if !tx.is_autocommit() {
        return ran.map_err(Undone::Item);
    }
    let message =
        "sqlite: an inbox handler's statement rolled the whole group back (ROLLBACK conflict clause?)";
    let error = Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe);
    let failure = ran.err().unwrap_or_else(|| Failure::Retry(message.into()));
    Err(Undone::Group(error, Some(failure)))
}

/// The failure of the disk or the file that a handler returned as its own failure, however wrapped.
fn environment_of(failure: &Failure) -> Option<Error> {
    let mut cause: Option<&(dyn StdError + 'static)> = match failure {
        Failure::Retry(e)
        | Failure::Permanent(e)
        | Failure::Infrastructure(e)
        | Failure::Unknown(e)
        | Failure::Cancelled(e) => Some(&**e),
        Failure::Fenced | Failure::Store(_) => None,
    };
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<rusqlite::Error>() {
            return Failed::of(error).environment;
        }
        cause = error.source();
    }
    None
}

pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("(no text)"))
}
