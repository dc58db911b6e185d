//! The transaction's begin and end, through Diesel's own manager: with a BEGIN by text, a transaction of the handler's own
//! would take itself for the outermost one, and its COMMIT would end ours.

use ackonce::{Error, ErrorKind};
use ackonce_postgres::driver::{BEGIN, SqlError};
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection, TransactionManager};

use crate::error::of;

type Manager = <AsyncPgConnection as AsyncConnection>::TransactionManager;

pub(crate) async fn begin(connection: &mut AsyncPgConnection) -> Result<(), SqlError> {
    Manager::begin_transaction_sql(connection, BEGIN).await.map_err(of)
}

/// The COMMIT of the outermost transaction.
pub(crate) async fn commit(connection: &mut AsyncPgConnection) -> Result<(), SqlError> {
    if depth(connection) != Some(1) {
        return Err(SqlError::left_open());
    }
    let Err(error) = Manager::commit_transaction(connection).await else { return Ok(()) };
    let error = match error {
        DieselError::RollbackErrorOnCommit { commit_error, .. } => *commit_error,
        error => error,
    };
    // Without its code, a refusal by the server looks like the end of the session, after which the COMMIT may have been applied.
    // A session that answers has not ended.
    match error {
        DieselError::DatabaseError(DatabaseErrorKind::Unknown, _)
            if connection.batch_execute("SELECT 1").await.is_err() =>
        {
            Err(SqlError::lost(None, error.to_string()))
        }
        error => Err(of(error)),
    }
}

/// True if the transaction has ended.
pub(crate) async fn roll_back(connection: &mut AsyncPgConnection) -> bool {
    depth(connection) == Some(1) && Manager::rollback_transaction(connection).await.is_ok()
}

/// Refuses a connection without a transaction, in the name of the thing that needs one.
pub(crate) fn in_transaction(connection: &mut AsyncPgConnection, thing: &str) -> Result<(), Error> {
    match depth(connection) {
        Some(_) => Ok(()),
        None => {
            let message = format!(
                "postgres: {thing} needs a transaction (AsyncConnection::transaction) on its connection"
            );
            Err(Error::new(ErrorKind::Config, message))
        }
    }
}

/// The number of transactions open, one in another. `None` without one, or if the manager knows nothing any more.
fn depth(connection: &mut AsyncPgConnection) -> Option<u32> {
    let status = Manager::transaction_manager_status_mut(connection);
    Some(status.transaction_depth().ok()??.get())
}
