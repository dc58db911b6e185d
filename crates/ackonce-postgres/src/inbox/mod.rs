//! The inbox: a handler's effect and its record in one transaction.

mod answer;
mod group;
mod guard;
mod outcome;
mod savepoint;
mod settings;
mod statements;
mod undone;

use std::collections::HashSet;
use std::fmt;
use std::sync::atomic::AtomicBool;

use ackonce::store::Suspects;
use ackonce::{Answer, Class, Context, Error, Failure, Handler, Item};
use async_trait::async_trait;
use deadpool_postgres::Pool;
use futures_util::future::BoxFuture;
use tokio_postgres::Transaction;

use crate::PostgresStore;
use crate::connection::ConnectionGuard;
use crate::error;
use group::Group;

pub use guard::{PostgresGuard, enter_sql, finish_sql};
pub use outcome::InboxOutcome;
pub use settings::InboxSettings;

/// The most messages of one transaction. Each has a savepoint, and PostgreSQL caches 64 of them per transaction; above
/// that every session's visibility check of a row gets slower.
const MAX_GROUP: usize = 60;

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
    store: PostgresStore,
    handler: F,
    settings: InboxSettings,
    suspects: Suspects,
    /// True once a handler has ignored a failed statement or ended its transaction: the next may do so, too.
    swallows: AtomicBool,
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
        PostgresInbox {
            store: self.clone(),
            handler: f,
            settings,
            suspects: Suspects::default(),
            swallows: AtomicBool::new(false),
            pool,
            own_pool: true,
        }
    }
}

impl<F> PostgresInbox<F> {
    /// Replaces the settings.
    #[must_use]
    pub fn with_settings(mut self, settings: InboxSettings) -> Self {
        if self.own_pool {
            self.pool = self.store.inner.connector.pool(settings.connections);
        }
        self.settings = settings;
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
        let cancel = self.own_pool.then(|| self.store.inner.connector.clone());
        Ok(ConnectionGuard::new(object, cancel))
    }

    /// Splits the items into groups that share a transaction, in order.
    fn groups<M>(&self, items: Vec<Item<M>>) -> Vec<Vec<Item<M>>> {
        let mut groups: Vec<Vec<Item<M>>> = Vec::new();
        let mut keys = HashSet::new();
        let mut closed = true;
        for item in items {
            let alone = self.suspects.has(item.cx.key());
            match groups.last_mut() {
                Some(group)
                    if !closed
                        && !alone
                        && group.len() < MAX_GROUP
                        && keys.insert(*item.cx.key().digest()) =>
                {
                    group.push(item);
                }
                _ => {
                    keys = HashSet::from([*item.cx.key().digest()]);
                    groups.push(vec![item]);
                }
            }
            closed = alone;
        }
        groups
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
        for items in self.groups(items) {
            let count = items.len();
            match self.connection().await {
                Ok(connection) => answers.extend(Group::new(self, items).run(connection).await),
                Err(e) => answers.extend((0..count).map(|_| Err(Failure::Store(e.clone())))),
            }
        }
        answers
    }
}

impl<F> fmt::Debug for PostgresInbox<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresInbox")
            .field("store", &self.store)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
