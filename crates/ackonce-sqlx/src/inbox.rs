//! The inbox.

use std::fmt;

use ackonce::{Answer, Class, Context, Failure, Handler, Item};
use ackonce_postgres::driver::{BEGIN, GroupEnd, InboxCore, InboxGroup, SqlError};
use ackonce_postgres::{InboxOutcome, InboxSettings, PostgresStore};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, PgPool, PgTransaction, Postgres};

use crate::error::of;
use crate::session::SqlxSession;

/// A handler whose effects are rows of the store's own database, written by sqlx: of class [`Inbox`](Class::Inbox). They are
/// committed together with the record of the message, or not at all.
///
/// It does all that [`PostgresInbox`](ackonce_postgres::PostgresInbox) does, on connections of your pool; the store's claims and
/// heartbeats keep connections of their own.
///
/// ```no_run
/// use ackonce::{Context, Failure};
/// use ackonce_postgres::PostgresStore;
/// use ackonce_sqlx::SqlxInbox;
/// use ackonce_sqlx::sqlx::{self, PgPool, PgTransaction};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// let pool = PgPool::connect("postgres://app@localhost/app").await?;
/// let inbox = SqlxInbox::new(&store, pool, |tx: &mut PgTransaction<'_>, _cx: Context, amount: i64| {
///     Box::pin(async move {
///         sqlx::query("UPDATE account SET balance = balance + $1").bind(amount).execute(&mut **tx).await?;
///         Ok::<_, Failure>(())
///     })
/// });
/// # Ok(()) }
/// ```
///
/// # Crashes
/// - Before the commit: effect and record are both absent; the claim stays, and after its lease the message runs
///   again as its next attempt.
/// - After the commit, before the ack: both are stored; the redelivery is acknowledged without a run.
/// - During the commit: either case. The error is [`Repeat::Unknown`](ackonce::store::Repeat::Unknown), and asking
///   the store again tells.
///
/// A cancelled run closes its connection, which rolls its effects back. The server goes on with a statement that it has
/// begun until that ends; set `statement_timeout` where that takes long.
pub struct SqlxInbox<F> {
    core: InboxCore,
    pool: PgPool,
    handler: F,
}

impl<F> SqlxInbox<F> {
    /// A handler that runs `handler` in the transaction that completes the message.
    ///
    /// `handler` is given the transaction, the [`Context`] and the message, and runs again after any failure. Its
    /// work must be statements on that transaction. It may open transactions within it ([`Connection::begin`]), which are
    /// savepoints; it must not end the transaction by a statement of its own, which is noticed and cannot be undone. At the
    /// isolation level READ COMMITTED it should lock the rows that it reads and relies on (`SELECT … FOR UPDATE`).
    ///
    /// `pool` must lead to the store's own database, and to its primary. With other tables behind it each message is answered
    /// with [`Config`](ackonce::ErrorKind::Config) and stays unacknowledged.
    pub fn new<M, T>(store: &PostgresStore, pool: PgPool, handler: F) -> Self
    where
        F: for<'a, 'c> Fn(&'a mut PgTransaction<'c>, Context, M) -> BoxFuture<'a, Result<T, Failure>>,
        F: Send + Sync + 'static,
        T: InboxOutcome,
    {
        Self { core: InboxCore::new(store, InboxSettings::default()), pool, handler }
    }

    /// Replaces the settings. Its number of connections has no effect: the pool has one.
    #[must_use]
    pub fn with_settings(mut self, settings: InboxSettings) -> Self {
        self.core = self.core.with_settings(settings);
        self
    }

    async fn transact<M, T>(&self, mut group: InboxGroup<'_, M>) -> Vec<Answer>
    where
        M: Send + 'static,
        T: InboxOutcome + Send + 'static,
        F: for<'a, 'c> Fn(&'a mut PgTransaction<'c>, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
    {
        let mut held = match self.pool.acquire().await {
            Ok(connection) => Held { connection, is_clean: false },
            Err(error) => return group.without_connection(of(error)),
        };
        let mut tx = match held.connection.begin_with(BEGIN).await {
            Ok(tx) => tx,
            Err(error) => return group.not_begun(of(error)),
        };
        let persistent = self.core.keeps_prepared();
        let end = group.run(&mut SqlxSession { tx: &mut tx, persistent, handler: &self.handler }).await;
        let ended = match end {
            GroupEnd::Commit => tx.commit().await,
            GroupEnd::RollBack => tx.rollback().await,
        };
        // sqlx counts nested transactions: the COMMIT was a RELEASE if the handler has left one open.
        let is_open = held.connection.is_in_transaction();
        held.is_clean = ended.is_ok() && !is_open;
        group.finish(match (end, ended) {
            (GroupEnd::RollBack, _) => Ok(()),
            (GroupEnd::Commit, Err(error)) => Err(of(error)),
            (GroupEnd::Commit, Ok(())) if is_open => Err(SqlError::left_open()),
            (GroupEnd::Commit, Ok(())) => Ok(()),
        })
    }
}

/// A connection that goes back to its pool only if no transaction is open on it. sqlx would send the ROLLBACK of a run
/// that was cancelled only behind the answer to its statement.
struct Held {
    connection: PoolConnection<Postgres>,
    is_clean: bool,
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.is_clean {
            self.connection.close_on_drop();
        }
    }
}

#[async_trait]
impl<M, T, F> Handler<M> for SqlxInbox<F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a, 'c> Fn(&'a mut PgTransaction<'c>, Context, M) -> BoxFuture<'a, Result<T, Failure>>
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

impl<F> fmt::Debug for SqlxInbox<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxInbox").field("core", &self.core).finish_non_exhaustive()
    }
}
