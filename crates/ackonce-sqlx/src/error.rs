//! sqlx's errors as an inbox reads them.

use ackonce_postgres::driver::SqlError;
use sqlx::Error;
use sqlx::postgres::{PgDatabaseError, PgSeverity};

pub(crate) fn read(error: &Error) -> SqlError {
    let text = error.to_string();
    match error {
        Error::Database(database) => {
            let code = database.code();
            let answer = database.try_downcast_ref::<PgDatabaseError>();
            match answer.is_some_and(|error| matches!(error.severity(), PgSeverity::Error)) {
                true => SqlError::answered(code.as_deref(), text),
                false => SqlError::lost(code.as_deref(), text),
            }
        }
        Error::RowNotFound
        | Error::TypeNotFound { .. }
        | Error::ColumnIndexOutOfBounds { .. }
        | Error::ColumnNotFound(_)
        | Error::ColumnDecode { .. }
        | Error::Encode(_)
        | Error::Decode(_)
        | Error::Configuration(_) => SqlError::driver(text),
        _ => SqlError::lost(None, text),
    }
}

pub(crate) fn of(error: Error) -> SqlError {
    read(&error)
}
