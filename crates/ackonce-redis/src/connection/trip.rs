//! The parts that a trip to a server and a trip to a cluster share.

use ackonce::store::Repeat;
use redis::Value;

use crate::error::Trouble;

/// The server does not know the script yet, or not any more.
pub(super) fn is_unknown_script(value: &Value) -> bool {
    matches!(value, Value::ServerError(e) if e.code() == "NOSCRIPT")
}

/// The error of several calls is not safe to repeat if one was refused, since the others may have been applied.
pub(super) fn of_several(trouble: Trouble, calls: usize) -> Trouble {
    match trouble.error.repeat() {
        Repeat::Safe if calls > 1 => Trouble { error: trouble.error.with_repeat(Repeat::Unknown), ..trouble },
        _ => trouble,
    }
}
