//! The guard in a transaction of the user's own.

use ackonce::store::Lease;
use ackonce::{Key, Result};
use ackonce_postgres::driver::GuardCore;
use ackonce_postgres::{Entered, GuardOptions, SchemaName};
use diesel_async::AsyncPgConnection;

use crate::session::DieselSession;

/// A claim inside your own transaction of diesel-async, on any connection to the database with the store's tables.
///
/// ```no_run
/// use ackonce::Scope;
/// use ackonce_diesel::diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
/// use ackonce_diesel::{Entered, GuardOptions, DieselGuard, diesel};
/// # async fn run(connection: &mut AsyncPgConnection) -> anyhow::Result<()> {
/// let key = Scope::new("billing/deposit")?.key("evt_1")?;
/// connection
///     .transaction(async |tx| {
///         if let Entered::First(guard) = DieselGuard::enter(tx, &key, &GuardOptions::default()).await? {
///             diesel::sql_query("UPDATE account SET balance = balance + 5").execute(tx).await?;
///             guard.finish(tx).await?;
///         }
///         anyhow::Ok(())
///     })
///     .await?;
/// # Ok(()) }
/// ```
///
/// # Crashes
/// Before the commit: claim, effect and record are absent, and the message runs again; the attempt was not counted, so a
/// message that kills the process is not noticed. After it: all are stored. A commit without [`finish`](Self::finish)
/// leaves a claim whose lease ends at once: the next delivery repeats the effect. A COMMIT that fails may have been applied:
/// enter again, and the answer tells.
///
/// A second transaction that enters the same message waits for the first one's end; set `lock_timeout` where
/// waiting must end. For this transaction `synchronous_commit` is turned on if it was off.
///
/// A consumer of Ackonce has claimed its message already, so a guard in its handler always finds it busy: use the inbox there.
#[derive(Debug)]
#[must_use = "a transaction that commits without finish() has an effect and no record"]
pub struct DieselGuard(GuardCore);

impl DieselGuard {
    /// Claims `key` in this transaction, before its effects.
    ///
    /// # Errors
    /// - [`Config`](ackonce::ErrorKind::Config): the tables are missing, or the role lacks a privilege.
    /// - [`NewerSchema`](ackonce::ErrorKind::NewerSchema), and any error of PostgreSQL for a write. Roll back; all but
    ///   `Config` and `NewerSchema` may be tried again from the start.
    pub async fn enter(
        tx: &mut AsyncPgConnection,
        key: &Key,
        options: &GuardOptions,
    ) -> Result<Entered<Self>> {
        Self::enter_in(&SchemaName::default(), tx, key, options).await
    }

    /// The same with the tables in another schema than `ackonce`.
    ///
    /// # Errors
    /// Those of [`enter`](Self::enter).
    pub async fn enter_in(
        schema: &SchemaName,
        tx: &mut AsyncPgConnection,
        key: &Key,
        options: &GuardOptions,
    ) -> Result<Entered<Self>> {
        let mut session = DieselSession::within(tx, "a guard")?;
        Ok(GuardCore::enter(&mut session, schema, key, options).await?.map(Self))
    }

    /// Adds an outcome to the record, to replay to a later copy of the message.
    pub fn with_outcome(self, outcome: impl Into<Vec<u8>>) -> Self {
        Self(self.0.with_outcome(outcome.into().into()))
    }

    /// The claim, with its fence and the number of its attempt.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        self.0.lease()
    }

    /// Completes the message, as the transaction's last statement before its commit.
    ///
    /// # Errors
    /// [`Protocol`](ackonce::ErrorKind::Protocol) if the transaction no longer holds the claim: the code between went back
    /// to an earlier savepoint, or this is another transaction. A failed statement in between, whose error was
    /// passed over, fails here too, where a COMMIT would have answered success. Roll back and deliver the message again.
    pub async fn finish(self, tx: &mut AsyncPgConnection) -> Result<()> {
        self.0.finish(&mut DieselSession { connection: tx, persistent: true, handler: &() }).await
    }
}
