//! The inbox.

use std::fmt;

use ackonce::{Answer, Class, Context, Failure, Handler, Item};
use ackonce_postgres::driver::{GroupEnd, InboxCore, InboxGroup, SET_UP, SqlError, SqlSession};
use ackonce_postgres::{InboxOutcome, InboxSettings, PostgresStore};
use async_trait::async_trait;
use futures_util::future::BoxFuture;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbBackend, TransactionTrait};

use crate::error::of;
use crate::session::SeaOrmSession;

/// A handler whose effects are rows of the store's own database, written by SeaORM: of class [`Inbox`](Class::Inbox). They are
/// committed together with the record of the message, or not at all.
///
/// It does all that [`PostgresInbox`](ackonce_postgres::PostgresInbox) does, on connections of your pool; the store's claims and
/// heartbeats keep connections of their own.
///
/// ```no_run
/// use ackonce::{Context, Failure};
/// use ackonce_postgres::PostgresStore;
/// use ackonce_seaorm::SeaOrmInbox;
/// use ackonce_seaorm::sea_orm::{ConnectionTrait, Database, DatabaseTransaction, DbBackend, Statement};
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let store = PostgresStore::connect("postgres://app@localhost/app").await?;
/// let db = Database::connect("postgres://app@localhost/app").await?;
/// let inbox = SeaOrmInbox::new(&store, db, |tx: &DatabaseTransaction, _cx: Context, amount: i64| {
///     Box::pin(async move {
///         let text = "UPDATE account SET balance = balance + $1";
///         tx.execute_raw(Statement::from_sql_and_values(DbBackend::Postgres, text, [amount.into()])).await?;
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
/// The ROLLBACK of a cancelled run is sent when its connection goes back to the pool, behind the answer to a statement
/// that the server has begun; set `statement_timeout` where that takes long.
pub struct SeaOrmInbox<F> {
    core: InboxCore,
    db: DatabaseConnection,
    handler: F,
}

impl<F> SeaOrmInbox<F> {
    /// A handler that runs `handler` in the transaction that completes the message.
    ///
    /// `handler` is given the transaction, the [`Context`] and the message, and runs again after any failure. Its
    /// work must be statements on that transaction. It may open transactions within it ([`TransactionTrait::begin`]), which are
    /// savepoints; it must not end the transaction by a statement of its own, which is noticed and cannot be undone. At the
    /// isolation level READ COMMITTED it should lock the rows that it reads and relies on (`SELECT … FOR UPDATE`).
    ///
    /// `db` must lead to the store's own database, and to its primary. With other tables behind it, or with another kind of
    /// database, each message is answered with [`Config`](ackonce::ErrorKind::Config) and stays unacknowledged.
    pub fn new<M, T>(store: &PostgresStore, db: DatabaseConnection, handler: F) -> Self
    where
        F: for<'a> Fn(&'a DatabaseTransaction, Context, M) -> BoxFuture<'a, Result<T, Failure>>,
        F: Send + Sync + 'static,
        T: InboxOutcome,
    {
        Self { core: InboxCore::new(store, InboxSettings::default()), db, handler }
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
        F: for<'a> Fn(&'a DatabaseTransaction, Context, M) -> BoxFuture<'a, Result<T, Failure>> + Sync,
    {
        let tx = match self.begin().await {
            Ok(tx) => tx,
            Err(error) => return group.not_begun(error),
        };
        match group.run(&mut SeaOrmSession { tx: &tx, handler: &self.handler }).await {
            GroupEnd::Commit => group.finish(tx.commit().await.map_err(of)),
            GroupEnd::RollBack => {
                // A transaction that is dropped sends its ROLLBACK later, and holds its locks until then. If this one fails,
                // the pool finds the connection broken and closes it.
                let _ = tx.rollback().await;
                group.finish(Ok(()))
            }
        }
    }

    async fn begin(&self) -> Result<DatabaseTransaction, SqlError> {
        if self.db.get_database_backend() != DbBackend::Postgres {
            return Err(SqlError::answered(Some("3D000"), "SeaOrmInbox needs a connection to PostgreSQL"));
        }
        let tx = self.db.begin().await.map_err(of)?;
        SeaOrmSession { tx: &tx, handler: &() }.execute(SET_UP).await?;
        Ok(tx)
    }
}

#[async_trait]
impl<M, T, F> Handler<M> for SeaOrmInbox<F>
where
    M: Send + 'static,
    T: InboxOutcome + Send + 'static,
    F: for<'a> Fn(&'a DatabaseTransaction, Context, M) -> BoxFuture<'a, Result<T, Failure>>
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

impl<F> fmt::Debug for SeaOrmInbox<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaOrmInbox").field("core", &self.core).finish_non_exhaustive()
    }
}
