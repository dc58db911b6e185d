//! The inbox: a handler's effect and its record in one transaction.

mod classify;
pub(crate) mod guard;
mod run;
pub(crate) mod transaction;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ackonce::store::{DEFAULT_WINDOW, Repeat, Suspects};
use ackonce::{Answer, Class, Context, Effect, Error, Failure, Handler, Item};
use async_trait::async_trait;
use tokio::sync::oneshot;

use crate::SqliteStore;
use crate::writer::writer_ended;
use run::HandlerRun;
use transaction::InboxTx;

/// A handler whose effects are rows of the store's own file, of class [`Inbox`](Class::Inbox): they are committed
/// together with the record of the message, or not at all. [`SqliteStore::inbox`] makes one.
///
/// # Crashes
/// - Before the commit: effect and record are both absent; the claim stays, and after its lease the message
///   runs again as its next attempt.
/// - After the commit, before the ack: both are there; the redelivery is acknowledged without a run.
/// - During the commit: one of the two. The error is [`Repeat::Unknown`], and the next claim of the message finds
///   out.
///
/// Handlers share the writer with all claims and settlements of the store, one at a time: a handler of a millisecond
/// allows about a thousand messages a second. Slow work belongs in a handler of another class.
pub struct SqliteInbox<F> {
    store: SqliteStore,
    handler: Arc<F>,
    window: Option<Duration>,
    suspects: Suspects,
}

impl SqliteStore {
    /// A handler that runs `f` on the store's own writer, in the transaction that completes the message.
    ///
    /// `f` gets the transaction, the [`Context`] and the message, and runs again after any failure. It must be quick
    /// and do nothing but database work: all other calls to the store, in every process, wait for it (and would wait
    /// for ever if `f` itself waited for an answer of the store). A panic is rolled back and counts as
    /// [`Failure::Retry`].
    ///
    /// ```
    /// # use ackonce_sqlite::{SqliteStore, InboxTx};
    /// use ackonce::{Context, Failure};
    /// # let directory = tempfile::tempdir()?;
    /// # let store = SqliteStore::open(directory.path().join("app.db"))?;
    /// let inbox = store.inbox(|tx: &InboxTx<'_>, _cx: &Context, amount: &i64| {
    ///     tx.execute("UPDATE account SET balance = balance + ?1", [amount])?;
    ///     Ok::<_, Failure>(())
    /// });
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn inbox<M, T, F>(&self, f: F) -> SqliteInbox<F>
    where
        F: Fn(&InboxTx<'_>, &Context, &M) -> Result<T, Failure> + Send + Sync + 'static,
        T: Into<Effect>,
    {
        SqliteInbox { store: self.clone(), handler: Arc::new(f), window: None, suspects: Suspects::default() }
    }
}

impl<F> SqliteInbox<F> {
    /// The time for which a completed message is remembered, from its completion (default: the runner's
    /// `Settings::window`, or 7 days without a runner). It must outlast the latest possible redelivery.
    ///
    /// ```
    /// # use ackonce_sqlite::{SqliteStore, InboxTx};
    /// use std::time::Duration;
    /// use ackonce::{Context, Failure};
    /// # let directory = tempfile::tempdir()?;
    /// # let store = SqliteStore::open(directory.path().join("app.db"))?;
    /// let deposit = |tx: &InboxTx<'_>, _cx: &Context, amount: &i64| {
    ///     tx.execute("UPDATE account SET balance = balance + ?1", [amount])?;
    ///     Ok::<_, Failure>(())
    /// };
    /// let inbox = store.inbox(deposit).with_window(Duration::from_secs(30 * 24 * 3600));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_window(mut self, window: Duration) -> Self {
        self.window = Some(window);
        self
    }

    async fn submit<M, T>(&self, item: Item<M>) -> Result<oneshot::Receiver<Answer>, Error>
    where
        M: Send + 'static,
        T: Into<Effect> + 'static,
        F: Fn(&InboxTx<'_>, &Context, &M) -> Result<T, Failure> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let handler = Arc::clone(&self.handler);
        let window = self.window.or(item.cx.window()).unwrap_or(DEFAULT_WINDOW);
        let run = HandlerRun::new(item, handler, window, self.suspects.clone(), reply);
        self.store.writer().submit(run).await?;
        Ok(answer)
    }
}

#[async_trait]
impl<M, T, F> Handler<M> for SqliteInbox<F>
where
    M: Send + 'static,
    T: Into<Effect> + 'static,
    F: Fn(&InboxTx<'_>, &Context, &M) -> Result<T, Failure> + Send + Sync + 'static,
{
    fn class(&self) -> Class {
        Class::Inbox
    }

    async fn handle(&self, items: Vec<Item<M>>) -> Vec<Answer> {
        let mut waiting = Vec::with_capacity(items.len());
        for item in items {
            waiting.push(self.submit(item).await);
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for reply in waiting {
            answers.push(match reply {
                Ok(reply) => {
                    reply.await.unwrap_or_else(|_| Err(Failure::Store(writer_ended(Repeat::Unknown))))
                }
                Err(error) => Err(Failure::Store(error)),
            });
        }
        answers
    }
}

impl<F> fmt::Debug for SqliteInbox<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteInbox")
            .field("store", &self.store)
            .field("window", &self.window)
            .finish_non_exhaustive()
    }
}
