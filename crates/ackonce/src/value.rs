//! The limit on the length of outcomes and reasons, one for all stores on a disk or a server.

use crate::settle::Settle;
use crate::{Error, ErrorKind, Result};

/// The longest outcome or reason that a store keeps, in bytes (16 MiB).
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Checks the length of an outcome or a reason in bytes.
///
/// # Errors
/// [`Invalid`](ErrorKind::Invalid) if it is over [`MAX_VALUE_LEN`].
pub fn check_value_len(len: usize) -> Result<()> {
    if len <= MAX_VALUE_LEN {
        return Ok(());
    }
    let message = format!("an outcome or reason of {len} bytes, at most {MAX_VALUE_LEN} are stored");
    Err(Error::new(ErrorKind::Invalid, message))
}

impl Settle {
    /// Checks the length of its outcome or reason, before a store begins to write it.
    ///
    /// # Errors
    /// As [`check_value_len`].
    pub fn check_value_len(&self) -> Result<()> {
        match self {
            Self::Complete { outcome, .. } => check_value_len(outcome.as_ref().map_or(0, |o| o.len())),
            Self::Bury { reason, .. } => check_value_len(reason.len()),
            Self::Release { .. } | Self::Extend { .. } | Self::Redrive { .. } => Ok(()),
        }
    }
}
