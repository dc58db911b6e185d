//! An error and its causes in one line.

use std::error::Error;
use std::fmt;

/// An error and its causes, joined by colons, for a log line or a person; made by [`chain`].
#[derive(Debug, Clone, Copy)]
pub struct Chain<'e>(&'e (dyn Error + 'static));

/// The error and its causes, from the outermost to the innermost, joined by `": "`.
///
/// The text of an error of ours does not contain its causes; [`source`](Error::source) gives them. Others' may:
/// a cause that was printed before is left out.
///
/// ```
/// use ackonce::{Error, ErrorKind, chain};
/// let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
/// let error = Error::new(ErrorKind::Unavailable, "the store cannot be reached").with_source(refused);
/// assert_eq!(error.to_string(), "the store cannot be reached");
/// assert_eq!(chain(&error).to_string(), "the store cannot be reached: connection refused");
/// ```
#[must_use]
pub fn chain<'e>(error: &'e (dyn Error + 'static)) -> Chain<'e> {
    Chain(error)
}

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut printed = self.0.to_string();
        let mut cause = self.0.source();
        while let Some(error) = cause {
            let text = error.to_string();
            if !printed.contains(&text) {
                printed = if printed.is_empty() { text } else { format!("{printed}: {text}") };
            }
            cause = error.source();
        }
        f.write_str(&printed)
    }
}

/// The first cause of an error that its own text does not have.
pub(crate) fn first_unprinted<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e (dyn Error + 'static)> {
    let printed = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause.filter(|error| printed.contains(&error.to_string())) {
        cause = error.source();
    }
    cause
}

/// True if some cause further down is printed twice.
pub(crate) fn repeats(error: &(dyn Error + 'static)) -> bool {
    let printed = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        if printed.contains(&error.to_string()) || repeats(error) {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::ErrorKind as K;

    /// As many clients' errors do, it tells its cause and gives it again.
    #[derive(Debug, thiserror::Error)]
    #[error("the driver: {0}")]
    struct Driver(#[source] std::io::Error);

    fn refused() -> std::io::Error {
        std::io::Error::other("connection refused")
    }

    #[test]
    fn no_cause_is_told_twice() {
        let inner = crate::Error::new(K::Unavailable, "inner").with_source(Driver(refused()));
        let outer = crate::Error::new(K::Unavailable, "outer").with_source(inner);
        assert_eq!(chain(&outer).to_string(), "outer: inner: the driver: connection refused");
        let mut printed = String::new();
        let mut cause: Option<&(dyn Error + 'static)> = Some(&outer);
        while let Some(error) = cause {
            let text = error.to_string();
            assert!(!printed.contains(&text), "{text} comes again after {printed}");
            printed = format!("{printed}: {text}");
            cause = error.source();
        }
    }

    #[test]
    fn a_cause_is_found_behind_the_errors_that_tell_it() {
        let error = crate::Error::new(K::Unavailable, "store").with_source(Driver(refused()));
        assert!(error.find::<Driver>().is_some(), "the driver's own error");
        assert!(error.find::<std::io::Error>().is_some(), "and its cause");
        assert!(error.find::<fmt::Error>().is_none());
    }
}
