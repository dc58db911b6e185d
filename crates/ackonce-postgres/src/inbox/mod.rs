//! The inbox: a handler's effect and its record in one transaction.

mod answer;
mod core;
mod group;
mod guard;
mod guard_core;
mod outcome;
mod savepoint;
mod session;
mod settings;
mod split;
mod statements;
mod tokio;
mod undone;

use std::fmt;
use std::sync::Arc;

use ackonce::{Answer, Class, Context, Error, Failure, Handler, Item};
use async_trait::async_trait;
use deadpool_postgres::{Pool, StatementCache};
use futures_util::future::BoxFuture;
use tokio_postgres::{Client, IsolationLevel, Transaction};

use self::tokio::TokioSession;
use crate::connection::ConnectionGuard;
use crate::sql_error::SqlError;
use crate::{PostgresStore, Prepare, error};

pub use self::core::InboxCore;
pub use group::{GroupEnd, InboxGroup};
pub use guard::{PostgresGuard, enter_sql, finish_sql};
pub use guard_core::GuardCore;
pub use outcome::InboxOutcome;
pub use session::{HandlerRun, InboxSession, SqlSession};
pub use settings::InboxSettings;
pub use statements::{BEGIN, SET_UP, interned};

/// A handler whose effects are rows of the store's own database, of class [`Inbox`](Class::Inbox): they are
/// committed together with the record of the message, or not at all. Made by [`PostgresStore::inbox`].
///
/// A batch is one transaction (of up to 60 messages), with a savepoint around each message, which goes to the server
/// together with the handler's first statement; a message alone needs none. The last statement before the commit
/// completes the messages under their tokens and fences, and the inbox checks its answer:
/// PostgreSQL answers the COMMIT of a transaction in which a statement failed with success.
///
/// - A handler that fails or panics is rolled back alone and retried.
/// - So is one that ignored the failure of a statement and answered success: PostgreSQL refused everything after
///   it. For a failure that it expects, the handler needs its own savepoint. The message after it may have
///   met the same refusal, and then runs again; from then on handlers wait for their savepoint.
/// - A claim that was taken over meanwhile is noticed: its effect is rolled back.
/// - A violated deferred constraint undoes the whole transaction; its messages then run alone,
///   and only the message that violates it is charged an attempt.
///
/// # Crashes
/// - Before the commit: effect and record are both absent; the claim stays, and after its lease the message runs
///   again as its next attempt.
/// - After the commit, before the ack: both are stored; the redelivery is acknowledged without a run.
/// - During the commit: either case. The error is [`Repeat::Unknown`](ackonce::store::Repeat::Unknown), and asking
///   the store again tells.
///
/// A cancelled run closes its connection: its effects are rolled back and its statement is cancelled.
pub struct PostgresInbox<F> {
    core: InboxCore,
    handler: F,
    pool: Result<Pool, Error>,
    /// True if the pool was made from the store's configuration, so that its statements can be cancelled.
    own_pool: bool,
}

impl PostgresStore {
    /// A handler that runs `f` in the transaction that completes the message.
    ///
    /// `f` is given the transaction, the [`Context`] and the message, and is run again after any failure. Its
    /// work must be statements on that transaction: effects elsewhere are not undone, and are repeated. It must
    /// not end the transaction by a statement of its own; that is noticed, but cannot be undone, and neither can the
    /// statements that other messages of the batch have sent by then.
    ///
    /// Its transactions run on the caller's runtime, on their own connections, at the isolation level READ
    /// COMMITTED: at a stricter level a heartbeat would fail every run that is longer than a third of its
    /// lease. `f` should lock the rows that it reads and relies on (`SELECT … FOR UPDATE`).
    ///
    /// ```no_run
    /// use ackonce::{Context, Failure};
    /// use ackonce_postgres::{PostgresStore, tokio_postgres::Transaction};
    /// # async fn run() -> Result<(), ackonce::Error> {
    /// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
    /// let inbox = store.inbox(|tx: &Transaction<'_>, _cx: Context, amount: i64| {
    ///     Box::pin(async move {
    ///         tx.execute("UPDATE account SET balance = balance + $1", &[&amount]).await?;
    ///         Ok::<_, Failure>(())
    ///     })
    /// });
    /// # Ok(()) }
    /// ```
    pub fn inbox<M, T, F>(&self, f: F) -> PostgresInbox<F>
    where
        F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>>,
        F: Send + Sync + 'static,
        T: InboxOutcome,
    {
        let settings = InboxSettings::default();
        let pool = self.inner.connector.pool(settings.connections);
        PostgresInbox { core: InboxCore::new(self, settings), handler: f, pool, own_pool: true }
    }
}

impl<F> PostgresInbox<F> {
    /// Replaces the settings.
    #[must_use]
    pub fn with_settings(mut self, settings: InboxSettings) -> Self {
        if self.own_pool {
            self.pool = self.core.store.inner.connector.pool(settings.connections);
        }
        self.core = self.core.with_settings(settings);
        self
    }

    /// Replaces the pool. Its connections must lead to the store's own database, and to its primary.
    #[must_use]
    pub fn with_pool(mut self, pool: Pool) -> Self {
        self.pool = Ok(pool);
        self.own_pool = false;
        self
    }

    async fn connection(&self) -> Result<ConnectionGuard, Error> {
        let object = self.pool.as_ref().map_err(Clone::clone)?.get().await.map_err(error::pool)?;
        let cancel = self.own_pool.then(|| self.core.store.inner.connector.clone());
        Ok(ConnectionGuard::new(object, cancel))
    }

    /// One answer per message, in order.
    async fn transact<M, T>(&self, mut group: InboxGroup<'_, M>) -> Vec<Answer>
    where
        M: Send + 'static,
        T: InboxOutcome + Send + 'static,
        F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
    {
        let mut connection = match self.connection().await {
            Ok(connection) => connection,
            Err(error) => return group.failed(&error),
        };
        let object = match connection.object() {
            Ok(object) => object,
            Err(error) => return group.failed(&error),
        };
        let cache = Arc::clone(&object.statement_cache);
        let prepare = self.core.store.inner.config.prepare;
        match run_group(&mut group, object, &cache, prepare, &self.handler).await {
            Err(error) => group.not_begun(error),
            Ok((committed, is_clean)) => {
                if is_clean {
                    connection.release();
                }
                group.finish(committed)
            }
        }
    }
}

/// The result of the COMMIT, and `true` if the connection can be used again.
async fn run_group<M, T, F>(
    group: &mut InboxGroup<'_, M>,
    client: &mut Client,
    cache: &StatementCache,
    prepare: Prepare,
    handler: &F,
) -> Result<(Result<(), SqlError>, bool), SqlError>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
{
    let tx = client.build_transaction().isolation_level(IsolationLevel::ReadCommitted).start().await?;
    let mut session = TokioSession { tx: &tx, cache, prepare, handler };
    match group.run(&mut session).await {
        GroupEnd::Commit => {
            let committed = tx.commit().await.map_err(SqlError::from);
            let is_clean = committed.as_ref().err().is_none_or(SqlError::is_refusal);
            Ok((committed, is_clean))
        }
        GroupEnd::RollBack => Ok((Ok(()), tx.rollback().await.is_ok())),
    }
}

#[async_trait]
impl<M, T, F> Handler<M> for PostgresInbox<F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a> Fn(&'a Transaction<'a>, Context, M) -> BoxFuture<'a, Result<T, Failure>>
        + Send
        + Sync
        + 'static,
{
    fn class(&self) -> Class {
        Class::Inbox
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let mut answers = Vec::with_capacity(items.len());
        for group in self.core.groups(items) {
            answers.extend(self.transact(group).await);
        }
        answers
    }
}

impl<F> fmt::Debug for PostgresInbox<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresInbox")
            .field("store", &self.core.store)
            .field("settings", &self.core.settings)
            .finish_non_exhaustive()
    }
}
