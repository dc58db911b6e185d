//! The outbox.

use std::ops::Deref;

use ackonce::Result;
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_postgres::PostgresStore;
use diesel_async::AsyncPgConnection;

use crate::session::DieselSession;

/// The outbox of a [`PostgresStore`] that publishes in transactions of diesel-async: that of a [`DieselInbox`](crate::DieselInbox)'s handler,
/// of one with a [`DieselGuard`](crate::DieselGuard), or any other in the store's database. Its relay, its parked messages and its lag
/// are those of [`PostgresOutbox`]. Cloning is cheap.
///
/// ```no_run
/// use std::error::Error;
///
/// use ackonce_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
/// use ackonce_diesel::DieselOutbox;
/// use ackonce_outbox::Outgoing;
/// use ackonce_postgres::PostgresStore;
/// # async fn run(store: &PostgresStore, db: &mut AsyncPgConnection) -> Result<(), Box<dyn Error + Send + Sync>> {
/// let outbox = DieselOutbox::open(store).await?;
///
/// db.transaction::<_, Box<dyn Error + Send + Sync>, _>(async |tx| {
///     tx.batch_execute("INSERT INTO orders (id) VALUES (7)").await?;
///     outbox.publish(tx, &Outgoing::new("orders", r#"{"id": 7}"#).with_key("7")).await?;
///     Ok(())
/// })
/// .await?;
/// outbox.wake();
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct DieselOutbox(PostgresOutbox);

impl DieselOutbox {
    /// The outbox in the store's schema; creates its tables unless they are there.
    ///
    /// # Errors
    /// Those of [`PostgresOutbox::open`].
    pub async fn open(store: &PostgresStore) -> Result<Self> {
        PostgresOutbox::open(store).await.map(Self)
    }

    /// Publishes a message with the commit of this transaction. Returns the message ID.
    ///
    /// Call `wake` after the commit, or wrap the inbox in `waking`: else the relay finds the message at its next poll.
    ///
    /// # Errors
    /// [`Invalid`](ackonce::ErrorKind::Invalid) for a message outside of its limits,
    /// [`Config`](ackonce::ErrorKind::Config) without a transaction, and those of a statement: roll back.
    pub async fn publish(&self, tx: &mut AsyncPgConnection, outgoing: &Outgoing) -> Result<String> {
        self.publish_in(&mut DieselSession::within(tx, "an outbox")?, outgoing).await
    }

    /// Publishes messages in order, by one statement. Returns the message IDs.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); none is published then.
    pub async fn publish_all(
        &self,
        tx: &mut AsyncPgConnection,
        outgoing: &[Outgoing],
    ) -> Result<Vec<String>> {
        self.publish_all_in(&mut DieselSession::within(tx, "an outbox")?, outgoing).await
    }
}

impl From<PostgresOutbox> for DieselOutbox {
    fn from(outbox: PostgresOutbox) -> Self {
        Self(outbox)
    }
}

impl Deref for DieselOutbox {
    type Target = PostgresOutbox;

    fn deref(&self) -> &PostgresOutbox {
        &self.0
    }
}
