//! The outbox.

use std::ops::Deref;

use ackonce::Result;
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_postgres::PostgresStore;
use sqlx::PgTransaction;

use crate::session::SqlxSession;

/// The outbox of a [`PostgresStore`] that publishes in transactions of sqlx: that of a [`SqlxInbox`](crate::SqlxInbox)'s handler,
/// of one with a [`SqlxGuard`](crate::SqlxGuard), or any other in the store's database. Its relay, its parked messages and its lag
/// are those of [`PostgresOutbox`]. Cloning is cheap.
///
/// ```no_run
/// use ackonce_outbox::Outgoing;
/// use ackonce_postgres::PostgresStore;
/// use ackonce_sqlx::SqlxOutbox;
/// use ackonce_sqlx::sqlx::{self, PgPool};
/// # async fn run(store: &PostgresStore, pool: &PgPool) -> Result<(), Box<dyn std::error::Error>> {
/// let outbox = SqlxOutbox::open(store).await?;
///
/// let mut tx = pool.begin().await?;
/// sqlx::query("INSERT INTO orders (id) VALUES (7)").execute(&mut *tx).await?;
/// outbox.publish(&mut tx, &Outgoing::new("orders", r#"{"id": 7}"#).with_key("7")).await?;
/// tx.commit().await?;
/// outbox.wake();
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SqlxOutbox(PostgresOutbox);

impl SqlxOutbox {
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
    /// [`Invalid`](ackonce::ErrorKind::Invalid) for a message outside of its limits, and those of a statement: roll back.
    pub async fn publish(&self, tx: &mut PgTransaction<'_>, outgoing: &Outgoing) -> Result<String> {
        self.publish_in(&mut SqlxSession { tx, persistent: true, handler: &() }, outgoing).await
    }

    /// Publishes messages in order, by one statement. Returns the message IDs.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); none is published then.
    pub async fn publish_all(
        &self,
        tx: &mut PgTransaction<'_>,
        outgoing: &[Outgoing],
    ) -> Result<Vec<String>> {
        self.publish_all_in(&mut SqlxSession { tx, persistent: true, handler: &() }, outgoing).await
    }
}

impl From<PostgresOutbox> for SqlxOutbox {
    fn from(outbox: PostgresOutbox) -> Self {
        Self(outbox)
    }
}

impl Deref for SqlxOutbox {
    type Target = PostgresOutbox;

    fn deref(&self) -> &PostgresOutbox {
        &self.0
    }
}
