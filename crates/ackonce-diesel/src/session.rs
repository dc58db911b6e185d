//! A transaction of diesel-async.

use std::error::Error as StdError;

use ackonce::{Context, Failure, Result};
use ackonce_postgres::InboxOutcome;
use ackonce_postgres::driver::{InboxSession, SqlError, SqlSession};
use async_trait::async_trait;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use futures_util::future::BoxFuture;

use crate::error::{of, read};
use crate::statement::Statement;
use crate::transaction::in_transaction;

/// A connection with a transaction, and the handler that runs in it; `()` for a guard.
pub(crate) struct DieselSession<'s, F> {
    pub(crate) connection: &'s mut AsyncPgConnection,
    /// True if statements may stay prepared.
    pub(crate) persistent: bool,
    pub(crate) handler: &'s F,
}

impl<'s> DieselSession<'s, ()> {
    /// In a transaction of the user's own, in the name of the thing that needs one.
    pub(crate) fn within(connection: &'s mut AsyncPgConnection, thing: &str) -> Result<Self> {
        in_transaction(connection, thing)?;
        Ok(Self { connection, persistent: true, handler: &() })
    }
}

#[async_trait]
impl<F: Sync> SqlSession for DieselSession<'_, F> {
    /// Diesel hides SQLSTATE.
    const NEEDS_SAVEPOINT: bool = true;

    async fn execute(&mut self, text: &'static str) -> Result<(), SqlError> {
        self.connection.batch_execute(text).await.map_err(of)
    }

    async fn query(&mut self, text: &'static str, params: &[&str]) -> Result<Vec<String>, SqlError> {
        let statement = Statement { text, params, persistent: self.persistent };
        statement.load(self.connection).await.map_err(of)
    }

    fn read_error(cause: &(dyn StdError + 'static)) -> Option<SqlError> {
        cause.downcast_ref().map(read)
    }
}

#[async_trait]
impl<M, T, F> InboxSession<M> for DieselSession<'_, F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a> Fn(&'a mut AsyncPgConnection, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    type Outcome = T;

    async fn handle(&mut self, cx: Context, message: M) -> Result<T, Failure> {
        (self.handler)(self.connection, cx, message).await
    }
}
