//! The limit on outcomes and reasons.

use ackonce::{Error, ErrorKind, Result};

/// The longest outcome or reason that is stored, in bytes (16 MiB).
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Refuses an outcome or a reason of that length if it is over the limit.
pub(crate) fn fits(len: usize) -> Result<()> {
    match len {
        0..=MAX_VALUE_LEN => Ok(()),
        _ => Err(Error::new(
            ErrorKind::Invalid,
            format!("postgres: an outcome or reason of {len} bytes, at most {MAX_VALUE_LEN} are stored"),
        )),
    }
}
