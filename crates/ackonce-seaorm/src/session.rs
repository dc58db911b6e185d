//! A transaction of SeaORM.

use std::error::Error as StdError;

use ackonce::{Context, Failure};
use ackonce_postgres::InboxOutcome;
use ackonce_postgres::driver::{InboxSession, SqlError, SqlSession};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbBackend, Statement};

use crate::error::{of, read, read_runtime};

/// A transaction, and the handler that runs in it; `()` for a guard.
pub(crate) struct SeaOrmSession<'s, F> {
    pub(crate) tx: &'s DatabaseTransaction,
    pub(crate) handler: &'s F,
}

#[async_trait]
impl<F: Sync> SqlSession for SeaOrmSession<'_, F> {
    /// SeaORM does not show how many nested transactions are open.
    const NEEDS_SAVEPOINT: bool = true;

    async fn execute(&mut self, text: &'static str) -> Result<(), SqlError> {
        self.tx.execute_unprepared(text).await.map_err(of)?;
        Ok(())
    }

    async fn query(&mut self, text: &'static str, params: &[&str]) -> Result<Vec<String>, SqlError> {
        let values = params.iter().map(|param| (*param).into());
        let statement = Statement::from_sql_and_values(DbBackend::Postgres, text, values);
        let rows = self.tx.query_all_raw(statement).await.map_err(of)?;
        rows.iter().map(|row| row.try_get_by_index(0).map_err(of)).collect()
    }

    fn read_error(cause: &(dyn StdError + 'static)) -> Option<SqlError> {
        cause.downcast_ref().map(read).or_else(|| cause.downcast_ref().map(read_runtime))
    }
}

#[async_trait]
impl<M, T, F> InboxSession<M> for SeaOrmSession<'_, F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a> Fn(&'a DatabaseTransaction, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    type Outcome = T;

    async fn handle(&mut self, cx: Context, message: M) -> Result<T, Failure> {
        (self.handler)(self.tx, cx, message).await
    }
}
