//! A driver's error in the terms of any driver, and the meaning of PostgreSQL's codes (its manual, appendix A).

use std::error::Error as StdError;
use std::fmt;

use ackonce::ErrorKind;

type Source = Box<dyn StdError + Send + Sync>;

/// An error of a PostgreSQL driver, as far as an inbox or a guard reads it.
///
/// ```
/// use ackonce_postgres::driver::SqlError;
///
/// let swallowed = SqlError::answered(Some("25P02"), "current transaction is aborted");
/// assert_eq!(swallowed.code(), Some("25P02"));
/// ```
#[derive(Debug)]
pub struct SqlError {
    code: Option<String>,
    origin: Origin,
    source: Source,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// The server answered `ERROR`: the statement was rolled back, and the connection lives.
    Answer,
    /// The server ended the session (`FATAL`, `PANIC`), or the connection broke: the outcome is unknown.
    Lost,
    /// The driver cannot read the answer, or refuses the call.
    Driver,
}

impl SqlError {
    /// The server answered the statement with `ERROR`. `code` is its SQLSTATE; `None` if the driver hides it.
    pub fn answered(code: Option<&str>, source: impl Into<Source>) -> Self {
        Self::new(code, Origin::Answer, source)
    }

    /// The server ended the session, or the connection broke.
    pub fn lost(code: Option<&str>, source: impl Into<Source>) -> Self {
        Self::new(code, Origin::Lost, source)
    }

    /// The driver cannot read the server's answer, or refuses the call.
    pub fn driver(source: impl Into<Source>) -> Self {
        Self::new(None, Origin::Driver, source)
    }

    /// The handler has begun a transaction within the inbox's and has not ended it: the COMMIT ended that one alone.
    #[must_use]
    pub fn left_open() -> Self {
        Self::answered(
            Some(LEFT_OPEN),
            "the handler left a nested transaction open, so nothing was committed",
        )
    }

    fn new(code: Option<&str>, origin: Origin, source: impl Into<Source>) -> Self {
        Self { code: code.map(str::to_owned), origin, source: source.into() }
    }

    /// The server's SQLSTATE, if the driver tells it.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// True if the server answered `ERROR` and the driver hides its code.
    pub(crate) fn is_code_hidden(&self) -> bool {
        self.code.is_none() && self.origin == Origin::Answer
    }

    /// True if the statement, or the COMMIT, was certainly rolled back.
    pub(crate) fn is_rolled_back(&self) -> bool {
        // 40003: the server itself does not know.
        self.origin == Origin::Answer && self.code() != Some("40003")
    }

    /// True if the COMMIT was refused for the sake of a message: by a deferred constraint, by a trigger, or because a handler
    /// left a savepoint of its own open. A driver that hides the code has no other reason to tell.
    pub(crate) fn is_refusal(&self) -> bool {
        match self.code() {
            Some(code) => code == LEFT_OPEN || matches!(code.get(..2), Some("23" | "P0")),
            None => self.is_code_hidden(),
        }
    }

    /// True if the cause is the server or another transaction, and not the statement.
    pub(crate) fn is_environment(&self) -> bool {
        match self.code() {
            // The handler's own statement took too long.
            Some("57014") => false,
            Some("55P03" | "25006") => true,
            Some(code) => matches!(code.get(..2), Some("08" | "40" | "53" | "57" | "58" | "XX")),
            None => self.origin == Origin::Lost,
        }
    }

    pub(crate) fn meaning(&self) -> (ErrorKind, &'static str) {
        match (self.code(), self.origin) {
            (Some(code), _) => meaning_of(code),
            (None, Origin::Lost) => (ErrorKind::Unavailable, "the server cannot be reached"),
            (None, Origin::Answer) => (ErrorKind::Protocol, "the server refused the statement"),
            (None, Origin::Driver) => (ErrorKind::Protocol, "the driver cannot read the server's answer"),
        }
    }

    pub(crate) fn into_source(self) -> Source {
        self.source
    }
}

impl fmt::Display for SqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

/// A savepoint does not exist: at a COMMIT, the one of a nested transaction that went away with the inbox's own.
const LEFT_OPEN: &str = "3B001";

fn meaning_of(code: &str) -> (ErrorKind, &'static str) {
    use ErrorKind as K;
    match (code.get(..2).unwrap_or_default(), code) {
        (_, "08P01" | "26000" | "42P05") => (
            K::Config,
            "prepared statements do not work here; behind a pooler use Prepare::Never (prepare=never in a URL)",
        ),
        (_, "25006") => (K::ReadOnly, "the server is read-only: a standby, or set so"),
        (_, "53100") => (K::Full, "the server's disk is full"),
        (_, "57014") => (K::Unavailable, "the statement was cancelled (statement_timeout?)"),
        (_, "55P03") => (K::Unavailable, "another transaction holds a lock for longer than lock_timeout"),
        (_, "25P03") => (K::Unavailable, "the transaction was idle for too long"),
        (_, "42P01" | "3F000" | "42703" | "42883") => (
            K::Config,
            "the store's tables are missing or changed; create them with PostgresConfig::create_schema (tables=create in a \
             URL)",
        ),
        (_, "42501") => (
            K::Config,
            "the role lacks a privilege; GRANT it USAGE on the store's schema, and SELECT, INSERT, UPDATE and DELETE on its \
             tables",
        ),
        (_, LEFT_OPEN) => {
            (K::Protocol, "the handler left a nested transaction open, so nothing was committed")
        }
        (_, "54000") => (K::Invalid, "a value is over the server's limit"),
        (_, "XX001" | "XX002") => (K::Corrupt, "the server's files are damaged"),
        ("28" | "3D", _) => (
            K::Config,
            "the server refused the login; mend the URL's user, password or database, or the role",
        ),
        ("0A" | "08" | "40" | "53" | "55" | "57" | "58" | "XX" | "25", _) => {
            (K::Unavailable, "the server cannot answer now")
        }
        ("23" | "P0", _) => (K::Protocol, "a constraint or trigger refused it"),
        _ => (K::Protocol, "the server refused the statement"),
    }
}
