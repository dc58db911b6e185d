//! Standard output and standard error of the program. Their readers may leave, and the disk behind them may be full:
//! `println!` and `eprintln!` panic then.

use std::fmt;
use std::io::{ErrorKind, Write as _};

use crate::refusal::Refusal;

/// Prints text as it is on standard output. A reader that has left does not miss it.
///
/// # Errors
/// The output cannot be written, such as to a full disk.
pub(crate) fn print(text: &str) -> Result<(), Refusal> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Refusal::environment(format!("standard output cannot be written: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a line on standard error. One that cannot be written changes neither the work nor its exit code.
pub fn note(line: impl fmt::Display) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
