//! Diesel's errors as an inbox reads them.

use ackonce_postgres::driver::SqlError;
use diesel::result::DatabaseErrorKind as Kind;
use diesel::result::Error;

/// Diesel hides SQLSTATE, and shows a kind for some codes.
pub(crate) fn read(error: &Error) -> SqlError {
    let text = error.to_string();
    let code = match error {
        Error::RollbackErrorOnCommit { commit_error, .. } => return read(commit_error),
        Error::DatabaseError(kind, _) => match kind {
            Kind::UniqueViolation => Some("23505"),
            Kind::ForeignKeyViolation => Some("23503"),
            Kind::NotNullViolation => Some("23502"),
            Kind::CheckViolation => Some("23514"),
            Kind::RestrictViolation => Some("23001"),
            Kind::ExclusionViolation => Some("23P01"),
            Kind::SerializationFailure => Some("40001"),
            Kind::ReadOnlyTransaction => Some("25006"),
            Kind::ClosedConnection | Kind::UnableToSendCommand => return SqlError::lost(None, text),
            _ => None,
        },
        _ => return SqlError::driver(text),
    };
    SqlError::answered(code, text)
}

pub(crate) fn of(error: Error) -> SqlError {
    read(&error)
}
