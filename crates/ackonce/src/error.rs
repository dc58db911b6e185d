//! One error for every store: its kind, the safety of a repeat, and the source.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use crate::chain::{first_unprinted, repeats};

/// The result of a store. It has the standard one's second parameter, so that `use ackonce::*` takes nothing away:
///
/// ```
/// use ackonce::*;
/// fn parsed(text: &str) -> Result<u8, std::num::ParseIntError> { text.parse() }
/// fn scope() -> Result<Scope, KeyError> { Scope::new("billing") }
/// # fn store() -> Result<()> { Ok(()) }
/// ```
pub type Result<T, E = Error> = std::result::Result<T, E>;
/// Any error, boxed.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// A store could not answer. That is never a duplicate: do not acknowledge, back off, repeat.
///
/// Cloning is cheap; a batch hands the same error to everyone in it.
///
/// ```
/// use ackonce::{Error, ErrorKind, chain};
/// use ackonce::store::Repeat;
///
/// let error = Error::new(ErrorKind::Unavailable, "postgres: claiming").with_source("connection reset by peer");
/// assert_eq!(error.repeat(), Repeat::Unknown);       // it may have been applied: repeat the same request
/// assert_eq!(error.to_string(), "postgres: claiming");
/// assert_eq!(chain(&error).to_string(), "postgres: claiming: connection reset by peer");
/// ```
#[derive(Clone)]
pub struct Error(Arc<Inner>);

/// Behind a pointer: results are moved about at every step, and hardly ever are errors.
#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    repeat: Repeat,
    message: String,
    source: Option<Cause>,
}

#[derive(Clone)]
enum Cause {
    Plain(Arc<dyn StdError + Send + Sync>),
    /// An error whose text has its causes in it.
    Trimmed(TrimmedSource),
}

/// An error whose text has its causes in it, with only the other ones as its source: otherwise a printed
/// chain has each of them twice.
#[derive(Clone)]
struct TrimmedSource(Arc<dyn StdError + Send + Sync>);

impl fmt::Debug for TrimmedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for TrimmedSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl StdError for TrimmedSource {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        first_unprinted(&*self.0).filter(|cause| !repeats(*cause))
    }
}

impl Cause {
    fn error(&self) -> &Arc<dyn StdError + Send + Sync> {
        match self {
            Self::Plain(error) | Self::Trimmed(TrimmedSource(error)) => error,
        }
    }
}

/// The kind of error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The store cannot be reached, is starting, or is busy past its time-out.
    Unavailable,
    /// Another transaction holds a record of the batch, and nothing else is wrong. The requests for other records are
    /// answered when they are sent without that one.
    Locked,
    /// No answer came in time; the request may have been applied.
    Timeout,
    /// No room: a full disk, a memory limit without eviction.
    Full,
    /// The store refuses writes: a read-only file or filesystem, a replica.
    ReadOnly,
    /// The data is damaged. Nothing it says can be trusted.
    Corrupt,
    /// The data was written by a newer version.
    NewerSchema,
    /// A setting that makes the promise untrue, or that the store does not understand.
    Config,
    /// The request itself cannot be carried out, such as an outcome over the store's limit.
    Invalid,
    /// The store broke its contract.
    Protocol,
    /// The program was told to stop first.
    Stopped,
}

/// The safety of sending the same request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repeat {
    /// Nothing was applied.
    Safe,
    /// It may have been applied. A claim or settle carries its token, so repeating the *same* one is safe;
    /// a new one is not.
    Unknown,
    /// It will fail the same way until somebody changes something.
    Never,
}

impl Error {
    /// An error with the usual repeatability of its kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        use ErrorKind as K;
        let repeat = match kind {
            K::Locked | K::Full | K::ReadOnly | K::Stopped => Repeat::Safe,
            K::Unavailable | K::Timeout => Repeat::Unknown,
            K::Corrupt | K::NewerSchema | K::Config | K::Invalid | K::Protocol => Repeat::Never,
        };
        Self(Arc::new(Inner { kind, repeat, message: message.into(), source: None }))
    }

    /// The same error with another answer to [`repeat`](Self::repeat).
    #[must_use]
    pub fn with_repeat(mut self, repeat: Repeat) -> Self {
        Arc::make_mut(&mut self.0).repeat = repeat;
        self
    }

    /// The same error with its cause.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        let source: Arc<dyn StdError + Send + Sync> = Arc::from(source.into());
        let has_causes = repeats(&*source);
        let source = if has_causes { Cause::Trimmed(TrimmedSource(source)) } else { Cause::Plain(source) };
        Arc::make_mut(&mut self.0).source = Some(source);
        self
    }

    /// The first of its causes that is a `T`, such as the driver's own error. [`source`](StdError::source) does not
    /// give every cause as it is: one that tells its own causes has a stand-in that does not give them again.
    #[must_use]
    pub fn find<T: StdError + 'static>(&self) -> Option<&T> {
        let mut cause: Option<&(dyn StdError + 'static)> = self.0.source.as_ref().map(|c| &**c.error() as _);
        while let Some(error) = cause {
            match (error.downcast_ref::<T>(), error.downcast_ref::<Self>()) {
                (Some(found), _) => return Some(found),
                (None, Some(error)) => return error.find(),
                (None, None) => cause = error.source(),
            }
        }
        None
    }

    /// The kind of error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The safety of sending the same request again.
    #[must_use]
    pub fn repeat(&self) -> Repeat {
        self.0.repeat
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, repeat, message, source } = &*self.0;
        f.debug_struct("Error")
            .field("kind", kind)
            .field("repeat", repeat)
            .field("message", message)
            .field("source", &source.as_ref().map(Cause::error))
            .finish()
    }
}

/// Without its causes, which [`source`](StdError::source) gives; [`chain`](crate::chain) prints both.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(match self.0.source.as_ref()? {
            Cause::Plain(error) => &**error,
            Cause::Trimmed(source) => source,
        })
    }
}
