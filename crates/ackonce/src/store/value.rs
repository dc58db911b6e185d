//! The limit on the outcome, the progress or the reason that a record keeps.

use crate::settle::Settle;
use crate::{Error, ErrorKind, Result};

/// The longest outcome, progress or reason that a store on disk or on a server keeps, in bytes: 16 MiB.
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Checks the outcome, progress or reason of a settlement against [`MAX_VALUE_LEN`]. `store` names the store in the error.
///
/// # Errors
/// [`ErrorKind::Invalid`]: it is longer.
pub fn check_value_len(store: &str, action: &Settle) -> Result<()> {
    let len = match action {
        Settle::Complete { outcome, .. } => outcome.as_ref().map_or(0, |outcome| outcome.len()),
        Settle::Bury { reason, .. } => reason.len(),
        Settle::Save { progress } => progress.len(),
        Settle::Release { .. } | Settle::Extend { .. } | Settle::Redrive { .. } => 0,
    };
    match len {
        0..=MAX_VALUE_LEN => Ok(()),
        _ => Err(value_too_long(store, len)),
    }
}

/// The error for an outcome, progress or reason of `len` bytes, more than [`MAX_VALUE_LEN`].
#[must_use]
pub fn value_too_long(store: &str, len: usize) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("{store}: an outcome, progress or reason of {len} bytes, at most {MAX_VALUE_LEN} are stored"),
    )
}
