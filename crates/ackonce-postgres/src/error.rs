//! The meaning of PostgreSQL's error codes for a caller (its manual, appendix A).

use std::error::Error as StdError;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind};
use deadpool_postgres::PoolError;
use tokio_postgres::Error as PgError;
use tokio_postgres::error::{DbError, Severity, SqlState};

/// The error of a statement, or of a COMMIT: an `ERROR` was rolled back; after anything else (the server ends
/// the connection, or it breaks) it may have been applied.
#[must_use]
pub fn statement(doing: &str, error: PgError) -> Error {
    let unknown =
        if error.as_db_error().is_some_and(is_rolled_back) { Repeat::Safe } else { Repeat::Unknown };
    describe(doing, error, unknown)
}

/// The error of a step that changes nothing by itself or takes effect only with a later COMMIT.
pub(crate) fn unsent(error: PgError) -> Error {
    describe("connecting", error, Repeat::Safe)
}

/// The error of a statement in a transaction that is rolled back: nothing was applied.
#[must_use]
pub fn undone(doing: &str, error: PgError) -> Error {
    describe(doing, error, Repeat::Safe)
}

/// The error of a pool that gave no connection.
#[must_use]
pub fn pool(error: PoolError) -> Error {
    match error {
        PoolError::Backend(error) => unsent(error),
        other => Error::new(ErrorKind::Unavailable, "postgres: the pool gave no connection")
            .with_repeat(Repeat::Safe)
            .with_source(other),
    }
}

fn describe(doing: &str, error: PgError, repeat: Repeat) -> Error {
    let (kind, advice) = meaning(&error);
    let repeat = match kind {
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Full | ErrorKind::ReadOnly => repeat,
        _ => Repeat::Never,
    };
    // The driver's own text is "db error"; its source is the server's or the system's message.
    let error = match error.source() {
        Some(_) => error.into_source().unwrap_or_else(|| "no more is known".into()),
        None => error.into(),
    };
    Error::new(kind, format!("postgres: {doing}: {advice}")).with_repeat(repeat).with_source(error)
}

fn meaning(error: &PgError) -> (ErrorKind, &'static str) {
    use ErrorKind as K;
    match error.code() {
        Some(code) => meaning_of(code.code()),
        None if is_connection(error) => (K::Unavailable, "the server cannot be reached"),
        None => (K::Protocol, "the driver cannot read the server's answer"),
    }
}

fn meaning_of(code: &str) -> (ErrorKind, &'static str) {
    use ErrorKind as K;
    match (&code[..2], code) {
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
        (_, "42501") => (K::Config, "the role lacks a privilege (see PostgresStore::schema_sql)"),
        (_, "54000") => (K::Invalid, "a value is over the server's limit"),
        (_, "XX001" | "XX002") => (K::Corrupt, "the server's files are damaged"),
        ("28" | "3D", _) => (K::Config, "the server refused the login"),
        ("0A" | "08" | "40" | "53" | "55" | "57" | "58" | "XX" | "25", _) => {
            (K::Unavailable, "the server cannot answer now")
        }
        ("23" | "P0", _) => (K::Protocol, "a constraint or trigger refused it"),
        _ => (K::Protocol, "the server refused the statement"),
    }
}

fn is_connection(error: &PgError) -> bool {
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

fn is_rolled_back(error: &DbError) -> bool {
    // 40003: the server itself does not know.
    error.parsed_severity() == Some(Severity::Error) && error.code().code() != "40003"
}

/// A deadlock with a transaction of the user's, or a role whose transactions are stricter than READ COMMITTED.
pub(crate) fn is_conflict(error: &PgError) -> bool {
    matches!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE | &SqlState::T_R_DEADLOCK_DETECTED))
}

/// An error that a handler passed on, if it is not to blame for it: the server is in trouble, or undid the transaction
/// for the sake of another one.
///
/// The driver's error is often out of reach, because `anyhow::Error` hides its outermost type; the server's own, its
/// source, is not.
pub(crate) fn in_handler(error: &(dyn StdError + 'static)) -> Option<Error> {
    let (is_environment, meaning, text) =
        match (error.downcast_ref::<PgError>(), error.downcast_ref::<DbError>()) {
            (Some(error), _) => {
                let is_environment =
                    error.code().map_or_else(|| is_connection(error), |code| is_environment(code.code()));
                (
                    is_environment,
                    meaning(error),
                    error.source().map_or_else(|| error.to_string(), ToString::to_string),
                )
            }
            (_, Some(error)) => {
                let code = error.code().code();
                (is_environment(code), meaning_of(code), error.to_string())
            }
            (None, None) => return None,
        };
    let (kind, advice) = meaning;
    let copy = || {
        Error::new(kind, format!("postgres: running an inbox handler: {advice}"))
            .with_repeat(Repeat::Safe)
            .with_source(text)
    };
    is_environment.then(copy)
}

fn is_environment(code: &str) -> bool {
    match code {
        // Its own statement took too long.
        "57014" => false,
        "55P03" | "25006" => true,
        code => matches!(&code[..2], "08" | "40" | "53" | "57" | "58" | "XX"),
    }
}

/// True if a lock was not granted in time.
pub(crate) fn is_locked(error: &PgError) -> bool {
    error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE)
}

/// True if a constraint or trigger refused the statement, or the COMMIT if it is deferred.
pub(crate) fn is_refusal(error: &PgError) -> bool {
    error.code().is_some_and(|code| matches!(&code.code()[..2], "23" | "P0"))
}

/// True if the connection is usable as before. One to a server that turned read-only is not: the next one may
/// lead to its successor.
pub(crate) fn spares_connection(error: &PgError) -> bool {
    let spares = |code: &str| matches!(&code[..2], "22" | "23" | "40" | "P0") || code == "55P03";
    !error.is_closed() && error.code().is_some_and(|code| spares(code.code()))
}
