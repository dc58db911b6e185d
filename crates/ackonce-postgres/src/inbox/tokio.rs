//! The transaction of tokio-postgres.

use std::error::Error as StdError;
use std::panic::AssertUnwindSafe;
use std::pin::pin;

use ackonce::{Context, Failure};
use async_trait::async_trait;
use deadpool_postgres::StatementCache;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Either, select, try_join};
use tokio_postgres::types::Type;
use tokio_postgres::{Row, Transaction};

use super::outcome::InboxOutcome;
use super::session::{HandlerRun, InboxSession, SqlSession};
use super::statements::READ_BY_INDEX;
use crate::Prepare;
use crate::connection::{Param, prepared, send, send_prepared};
use crate::error::in_handler;
use crate::sql_error::SqlError;

/// A transaction, with the cache of its connection's prepared statements.
pub(super) struct TokioSession<'t, F> {
    pub(super) tx: &'t Transaction<'t>,
    pub(super) cache: &'t StatementCache,
    pub(super) prepare: Prepare,
    pub(super) handler: &'t F,
}

#[async_trait]
impl<F: Sync> SqlSession for TokioSession<'_, F> {
    async fn execute(&mut self, text: &'static str) -> Result<(), SqlError> {
        Ok(self.tx.batch_execute(text).await?)
    }

    async fn query(&mut self, text: &'static str, params: &[&str]) -> Result<Vec<String>, SqlError> {
        lines(&send(self.tx.client(), self.cache, self.prepare, text, &typed(params)).await?)
    }

    fn read_error(cause: &(dyn StdError + 'static)) -> Option<SqlError> {
        in_handler(cause)
    }
}

#[async_trait]
impl<M, T, F> InboxSession<M> for TokioSession<'_, F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    type Outcome = T;
    const SENDS_AHEAD: bool = true;

    async fn handle(&mut self, cx: Context, message: M) -> Result<T, Failure> {
        (self.handler)(self.tx, cx, message).await
    }

    async fn look(&mut self, text: &'static str, params: &[&str]) -> Result<Vec<String>, SqlError> {
        let (client, params) = (self.tx.client(), typed(params));
        let look = prepared(client, self.cache, self.prepare, text, &params).await?;
        // One round trip: they are polled, and so sent, in this order.
        let set_up = client.batch_execute(READ_BY_INDEX);
        let ((), rows) = try_join(set_up, send_prepared(client, look.as_ref(), text, &params)).await?;
        lines(&rows)
    }

    /// It saves a round trip for each message.
    async fn handle_along(
        &mut self,
        savepoint: &'static str,
        cx: Context,
        message: M,
    ) -> (Result<(), SqlError>, Option<HandlerRun<T>>) {
        let (tx, handler) = (self.tx, self.handler);
        let handling = AssertUnwindSafe(async move { handler(tx, cx, message).await }).catch_unwind();
        let setting = pin!(tx.batch_execute(savepoint));
        // The savepoint is polled first, and the driver sends in the order of the first polls.
        let (set, ran) = match select(setting, pin!(handling)).await {
            Either::Left((Ok(()), handling)) => (Ok(()), Some(handling.await)),
            Either::Left((refused, _)) => (refused, None),
            Either::Right((ran, setting)) => (setting.await, Some(ran)),
        };
        let ran = ran.filter(|_| set.is_ok());
        (set.map_err(SqlError::from), ran)
    }
}

pub(super) fn typed<'p>(params: &'p [&'p str]) -> Vec<Param<'p>> {
    params.iter().map(|param| (param as _, Type::TEXT)).collect()
}

pub(super) fn lines(rows: &[Row]) -> Result<Vec<String>, SqlError> {
    rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
}
