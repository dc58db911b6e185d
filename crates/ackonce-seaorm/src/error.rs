//! SeaORM's errors as an inbox reads them.

use ackonce_postgres::driver::SqlError;
use sea_orm::sqlx::Error;
use sea_orm::sqlx::postgres::{PgDatabaseError, PgSeverity};
use sea_orm::{DbErr, RuntimeErr};

pub(crate) fn read(error: &DbErr) -> SqlError {
    match error {
        DbErr::Conn(runtime) | DbErr::Exec(runtime) | DbErr::Query(runtime) => read_runtime(runtime),
        DbErr::ConnectionAcquire(_) => SqlError::lost(None, error.to_string()),
        _ => SqlError::driver(error.to_string()),
    }
}

/// SeaORM keeps the driver's error out of the chain of causes.
pub(crate) fn read_runtime(error: &RuntimeErr) -> SqlError {
    let RuntimeErr::SqlxError(driver) = error else { return SqlError::driver(error.to_string()) };
    let text = error.to_string();
    match &**driver {
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

pub(crate) fn of(error: DbErr) -> SqlError {
    read(&error)
}
