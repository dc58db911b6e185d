//! The outbox.

use std::ops::Deref;

use ackonce::Result;
use ackonce_outbox::{Outgoing, PostgresOutbox};
use ackonce_postgres::PostgresStore;
use sea_orm::DatabaseTransaction;

use crate::session::SeaOrmSession;

/// The outbox of a [`PostgresStore`] that publishes in transactions of SeaORM: that of a [`SeaOrmInbox`](crate::SeaOrmInbox)'s handler,
/// of one with a [`SeaOrmGuard`](crate::SeaOrmGuard), or any other in the store's database. Its relay, its parked messages and its lag
/// are those of [`PostgresOutbox`]. Cloning is cheap.
///
/// ```no_run
/// use ackonce_outbox::Outgoing;
/// use ackonce_postgres::PostgresStore;
/// use ackonce_seaorm::SeaOrmOutbox;
/// use ackonce_seaorm::sea_orm::{ConnectionTrait, DatabaseConnection, TransactionTrait};
/// # async fn run(store: &PostgresStore, db: &DatabaseConnection) -> Result<(), Box<dyn std::error::Error>> {
/// let outbox = SeaOrmOutbox::open(store).await?;
///
/// let tx = db.begin().await?;
/// tx.execute_unprepared("INSERT INTO orders (id) VALUES (7)").await?;
/// outbox.publish(&tx, &Outgoing::new("orders", r#"{"id": 7}"#).with_key("7")).await?;
/// tx.commit().await?;
/// outbox.wake();
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct SeaOrmOutbox(PostgresOutbox);

impl SeaOrmOutbox {
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
    pub async fn publish(&self, tx: &DatabaseTransaction, outgoing: &Outgoing) -> Result<String> {
        self.publish_in(&mut SeaOrmSession { tx, handler: &() }, outgoing).await
    }

    /// Publishes messages in order, by one statement. Returns the message IDs.
    ///
    /// # Errors
    /// As [`publish`](Self::publish); none is published then.
    pub async fn publish_all(&self, tx: &DatabaseTransaction, outgoing: &[Outgoing]) -> Result<Vec<String>> {
        self.publish_all_in(&mut SeaOrmSession { tx, handler: &() }, outgoing).await
    }
}

impl From<PostgresOutbox> for SeaOrmOutbox {
    fn from(outbox: PostgresOutbox) -> Self {
        Self(outbox)
    }
}

impl Deref for SeaOrmOutbox {
    type Target = PostgresOutbox;

    fn deref(&self) -> &PostgresOutbox {
        &self.0
    }
}
