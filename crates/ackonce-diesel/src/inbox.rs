//! The inbox.

use std::fmt;

use ackonce::{Answer, Class, Context, Failure, Handler, Item};
use ackonce_postgres::driver::{GroupEnd, InboxCore, InboxGroup, SqlError};
use ackonce_postgres::{InboxOutcome, InboxSettings, PostgresStore};
use async_trait::async_trait;
use diesel_async::AsyncPgConnection;
use futures_util::future::BoxFuture;

use crate::pool::DieselPool;
use crate::session::DieselSession;
use crate::transaction::{begin, commit, roll_back};

/// A handler whose effects are rows of the store's own database, written by diesel-async: of class [`Inbox`](Class::Inbox). They
/// are committed together with the record of the message, or not at all.
///
/// It does all that [`PostgresInbox`](ackonce_postgres::PostgresInbox) does, on connections of your pool; the store's claims and
/// heartbeats keep connections of their own. Diesel hides the server's error codes, so a lock timeout, a deadlock or a
/// shutdown that a handler passes on is charged as an attempt.
///
/// ```no_run
/// use ackonce::{Context, Failure};
/// use ackonce_diesel::diesel::sql_types::BigInt;
/// use ackonce_diesel::diesel_async::pooled_connection::AsyncDieselConnectionManager;
/// use ackonce_diesel::diesel_async::pooled_connection::deadpool::Pool;
/// use ackonce_diesel::diesel_async::{AsyncPgConnection, RunQueryDsl};
/// use ackonce_diesel::{DieselInbox, diesel};
/// use ackonce_postgres::PostgresStore;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// let manager = AsyncDieselConnectionManager::<AsyncPgConnection>::new("postgres://app@localhost/app");
/// let pool = Pool::builder(manager).build()?;
/// let inbox = DieselInbox::new(&store, pool, |tx: &mut AsyncPgConnection, _cx: Context, amount: i64| {
///     Box::pin(async move {
///         let update = diesel::sql_query("UPDATE account SET balance = balance + $1");
///         update.bind::<BigInt, _>(amount).execute(tx).await?;
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
pub struct DieselInbox<P, F> {
    core: InboxCore,
    pool: P,
    handler: F,
}

impl<P: DieselPool, F> DieselInbox<P, F> {
    /// A handler that runs `handler` in the transaction that completes the message.
    ///
    /// `handler` is given the connection, the [`Context`] and the message, and runs again after any failure. Its
    /// work must be statements on that connection. It may open transactions within this one
    /// ([`transaction`](diesel_async::AsyncConnection::transaction)), which are savepoints; it must not end the transaction by
    /// a statement of its own, which is noticed and cannot be undone. At the isolation level READ COMMITTED it should lock the
    /// rows that it reads and relies on (`SELECT … FOR UPDATE`).
    ///
    /// `pool` must lead to the store's own database, and to its primary. With other tables behind it each message is answered
    /// with an error and stays unacknowledged.
    pub fn new<M, T>(store: &PostgresStore, pool: P, handler: F) -> Self
    where
        F: for<'a> Fn(&'a mut AsyncPgConnection, Context, M) -> BoxFuture<'a, Result<T, Failure>>,
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
        F: for<'a> Fn(&'a mut AsyncPgConnection, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
    {
        let mut held = match self.pool.connection().await {
            Ok(connection) => Held::<P>(Some(connection)),
            Err(error) => return group.without_connection(error),
        };
        let (committed, is_clean) = {
            let Some(connection) = held.0.as_deref_mut() else {
                return group.without_connection(SqlError::driver("no connection"));
            };
            if let Err(error) = begin(connection).await {
                return group.not_begun(error);
            }
            let persistent = self.core.keeps_prepared();
            match group.run(&mut DieselSession { connection, persistent, handler: &self.handler }).await {
                GroupEnd::Commit => {
                    let committed = commit(connection).await;
                    let is_clean = committed.is_ok();
                    (committed, is_clean)
                }
                GroupEnd::RollBack => (Ok(()), roll_back(connection).await),
            }
        };
        if is_clean {
            drop(held.0.take());
        }
        group.finish(committed)
    }
}

/// A connection that goes back to its pool only if no transaction is open on it: taken out then, and closed if it is left here.
struct Held<P: DieselPool>(Option<P::Connection>);

impl<P: DieselPool> Drop for Held<P> {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            P::discard(connection);
        }
    }
}

#[async_trait]
impl<M, T, P, F> Handler<M> for DieselInbox<P, F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    P: DieselPool,
    F: for<'a> Fn(&'a mut AsyncPgConnection, Context, M) -> BoxFuture<'a, Result<T, Failure>>
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

impl<P, F> fmt::Debug for DieselInbox<P, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DieselInbox").field("core", &self.core).finish_non_exhaustive()
    }
}
