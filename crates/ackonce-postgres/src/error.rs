//! The driver's errors as ours.

use std::error::Error as StdError;
use std::time::Duration;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind};
use deadpool_postgres::{PoolError, TimeoutType};
use tokio_postgres::Error as PgError;
use tokio_postgres::error::{DbError, Severity, SqlState};

use crate::sql_error::SqlError;

/// The time limit of a connection's start after that of its socket, TLS and the server's greeting included: a server or a
/// proxy that accepts and never answers would keep its place in the pool for ever.
pub(crate) const START_TIMEOUT: Duration = Duration::from_secs(10);

impl From<PgError> for SqlError {
    fn from(error: PgError) -> Self {
        let code = error.code().map(|code| code.code().to_owned());
        let is_answer = error.as_db_error().is_some_and(is_error);
        let is_lost = code.is_some() || is_connection(&error);
        // The driver's own text is "db error"; its source is the server's or the system's message.
        let source: Box<dyn StdError + Send + Sync> = match error.source() {
            Some(_) => error.into_source().unwrap_or_else(|| "no more is known".into()),
            None => error.into(),
        };
        match (is_answer, is_lost) {
            (true, _) => Self::answered(code.as_deref(), source),
            (false, true) => Self::lost(code.as_deref(), source),
            (false, false) => Self::driver(source),
        }
    }
}

/// The error of a statement, or of a COMMIT: an `ERROR` was rolled back; after anything else (the server ends
/// the connection, or it breaks) it may have been applied.
#[must_use]
pub fn statement(doing: &str, error: impl Into<SqlError>) -> Error {
    let error = error.into();
    let unknown = if error.is_rolled_back() { Repeat::Safe } else { Repeat::Unknown };
    describe(doing, error, unknown)
}

/// The error of a step that changes nothing by itself or takes effect only with a later COMMIT.
pub(crate) fn unsent(error: impl Into<SqlError>) -> Error {
    describe("connecting", error.into(), Repeat::Safe)
}

/// The error of a statement in a transaction that is rolled back: nothing was applied.
#[must_use]
pub fn undone(doing: &str, error: impl Into<SqlError>) -> Error {
    describe(doing, error.into(), Repeat::Safe)
}

/// The error of a pool that gave no connection.
#[must_use]
pub fn pool(error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) => unsent(error),
        PoolError::Timeout(TimeoutType::Create) => no_answer(),
        other => no_connection(other),
    }
}

/// The error of a connection that the server accepted, or a proxy for it, and never answered.
pub(crate) fn no_answer() -> Error {
    let message = format!(
        "postgres: connecting: no answer in {START_TIMEOUT:?} after the connect timeout (connect_timeout=N in a URL)"
    );
    Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe)
}

/// The same for a pool of any kind.
pub(crate) fn no_connection(error: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
    Error::new(ErrorKind::Unavailable, "postgres: the pool gave no connection")
        .with_repeat(Repeat::Safe)
        .with_source(error)
}

fn describe(doing: &str, error: SqlError, repeat: Repeat) -> Error {
    let (kind, advice) = error.meaning();
    let repeat = match kind {
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Full | ErrorKind::ReadOnly => repeat,
        _ => Repeat::Never,
    };
    Error::new(kind, format!("postgres: {doing}: {advice}"))
        .with_repeat(repeat)
        .with_source(error.into_source())
}

/// True if `error` came from the network, and not from the server.
pub(crate) fn is_connection(error: &PgError) -> bool {
    let mut source: Option<&(dyn StdError + 'static)> = error.source();
    while let Some(cause) = source {
        if cause.is::<std::io::Error>() {
            return true;
        }
        source = cause.source();
    }
    // Connecting timed out, or no address was left to try: the driver has no other kind for these.
    error.is_closed() || error.to_string().starts_with("error connecting to server")
}

fn is_error(error: &DbError) -> bool {
    error.parsed_severity() == Some(Severity::Error)
}

/// A deadlock with a transaction of the user's, or a role whose transactions are stricter than READ COMMITTED.
pub(crate) fn is_conflict(error: &PgError) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

/// The error of this driver that a handler passed on.
///
/// The driver's error is often out of reach, because `anyhow::Error` hides its outermost type; the server's own, its
/// source, is not.
pub(crate) fn in_handler(error: &(dyn StdError + 'static)) -> Option<SqlError> {
    if let Some(error) = error.downcast_ref::<PgError>() {
        let text = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        return Some(match (error.as_db_error(), is_connection(error)) {
            (Some(db), _) => answer(db, text),
            (None, true) => SqlError::lost(None, text),
            (None, false) => SqlError::driver(text),
        });
    }
    error.downcast_ref::<DbError>().map(|error| answer(error, error.to_string()))
}

fn answer(error: &DbError, text: String) -> SqlError {
    let code = Some(error.code().code());
    if is_error(error) { SqlError::answered(code, text) } else { SqlError::lost(code, text) }
}

/// The error of the server's trouble in a handler, for which its message is not to blame.
pub(crate) fn trouble(error: SqlError) -> Option<Error> {
    error.is_environment().then(|| {
        let (kind, advice) = error.meaning();
        Error::new(kind, format!("postgres: running an inbox handler: {advice}"))
            .with_repeat(Repeat::Safe)
            .with_source(error.into_source())
    })
}

/// True if the server refuses the role: its login, its password, or a right.
pub(crate) fn refuses_role(error: &Error) -> bool {
    let codes = [
        SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
        SqlState::INVALID_PASSWORD,
        SqlState::INSUFFICIENT_PRIVILEGE,
    ];
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(answer) = cause.downcast_ref::<DbError>() {
            return codes.contains(answer.code());
        }
        source = cause.source();
    }
    false
}

/// True if a lock was not granted in time.
pub(crate) fn is_locked(error: &PgError) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// True if the connection is usable as before. One to a server that turned read-only is not: the next one may
/// lead to its successor.
pub(crate) fn spares_connection(error: &PgError) -> bool {
    let spares = |code: &str| matches!(&code[..2], "22" | "23" | "40" | "P0") || code == "55P03";
    !error.is_closed() && error.code().is_some_and(|code| spares(code.code()))
}
