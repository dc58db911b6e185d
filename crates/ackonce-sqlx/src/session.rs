//! A transaction of sqlx.

use std::error::Error as StdError;

use ackonce::{Context, Failure};
use ackonce_postgres::InboxOutcome;
use ackonce_postgres::driver::{InboxSession, SqlError, SqlSession};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::{Executor, PgTransaction};

use crate::error::{of, read};

/// A transaction, and the handler that runs in it; `()` for a guard.
pub(crate) struct SqlxSession<'s, 'c, F> {
    pub(crate) tx: &'s mut PgTransaction<'c>,
    /// True if statements may stay prepared.
    pub(crate) persistent: bool,
    pub(crate) handler: &'s F,
}

#[async_trait]
impl<F: Sync> SqlSession for SqlxSession<'_, '_, F> {
    async fn execute(&mut self, text: &'static str) -> Result<(), SqlError> {
        // A text without parameters is not prepared. `raw_sql` does the same, but its future has no lifetime in sqlx 0.8.
        (&mut **self.tx).execute(text).await.map_err(of)?;
        Ok(())
    }

    async fn query(&mut self, text: &'static str, params: &[&str]) -> Result<Vec<String>, SqlError> {
        let mut query = sqlx::query_scalar::<_, String>(text).persistent(self.persistent);
        for param in params {
            query = query.bind((*param).to_owned());
        }
        query.fetch_all(&mut **self.tx).await.map_err(of)
    }

    fn read_error(cause: &(dyn StdError + 'static)) -> Option<SqlError> {
        cause.downcast_ref().map(read)
    }
}

#[async_trait]
impl<M, T, F> InboxSession<M> for SqlxSession<'_, '_, F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a, 'c> Fn(&'a mut PgTransaction<'c>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    type Outcome = T;

    async fn handle(&mut self, cx: Context, message: M) -> Result<T, Failure> {
        (self.handler)(self.tx, cx, message).await
    }
}
