//! The inbox for callers who own the transaction: a claim inside that transaction.

use std::error::Error as StdError;

use ackonce::store::{Entered, GuardOptions, Lease};
use ackonce::{Key, Result};
use async_trait::async_trait;
use bytes::Bytes;
use tokio_postgres::Transaction;

use super::guard_core::GuardCore;
use super::session::SqlSession;
use super::tokio::{lines, typed};
use crate::SchemaName;
use crate::error::in_handler;
use crate::records::Texts;
use crate::sql_error::SqlError;

/// A claim inside your own transaction, on any connection to the database with the store's tables.
///
/// ```no_run
/// use ackonce::Scope;
/// use ackonce_postgres::{Entered, GuardOptions, PostgresGuard};
/// # async fn run(client: &mut ackonce_postgres::tokio_postgres::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let key = Scope::new("billing/deposit")?.key("evt_1")?;
/// let tx = client.transaction().await?;
/// if let Entered::First(guard) = PostgresGuard::enter(&tx, &key, &GuardOptions::default()).await? {
///     tx.execute("UPDATE account SET balance = balance + 5", &[]).await?;
///     guard.finish(&tx).await?;
///     tx.commit().await?;
/// }
/// # Ok(()) }
/// ```
///
/// # Crashes
/// Before the commit: claim, effect and record are absent, and the message runs again; unlike a store's claim this
/// attempt was not counted, so a message that kills the process is not noticed. After it: all are stored. A commit
/// without [`finish`](Self::finish) leaves a claim whose lease ends at once: the next delivery repeats the effect.
/// A COMMIT that fails may have been applied: enter again, and the answer tells.
///
/// A second transaction that enters the same message waits for the first one's end; set `lock_timeout` where
/// waiting must end. Each statement is one round trip and works behind a transaction-mode pooler. For this
/// transaction `synchronous_commit` is turned on if it was off.
#[derive(Debug)]
#[must_use = "a transaction that commits without finish() has an effect and no record"]
pub struct PostgresGuard(GuardCore);

impl PostgresGuard {
    /// Claims `key` in this transaction, before its effects.
    ///
    /// # Errors
    /// - [`Config`](ackonce::ErrorKind::Config): the tables are missing, or the role lacks a privilege.
    /// - [`NewerSchema`](ackonce::ErrorKind::NewerSchema), and any error of PostgreSQL for a write: at isolation levels above
    ///   READ COMMITTED a serialization failure, if the message was claimed since the transaction began. Roll
    ///   back; all but `Config` and `NewerSchema` may be tried again from the start.
    pub async fn enter(tx: &Transaction<'_>, key: &Key, options: &GuardOptions) -> Result<Entered<Self>> {
        Self::enter_in(&SchemaName::default(), tx, key, options).await
    }

    /// The same with the tables in another schema than `ackonce`.
    ///
    /// # Errors
    /// Those of [`enter`](Self::enter).
    pub async fn enter_in(
        schema: &SchemaName,
        tx: &Transaction<'_>,
        key: &Key,
        options: &GuardOptions,
    ) -> Result<Entered<Self>> {
        Ok(GuardCore::enter(&mut Plain(tx), schema, key, options).await?.map(Self))
    }

    /// Adds an outcome to the record, to replay to a later copy of the message.
    pub fn with_outcome(self, outcome: Bytes) -> Self {
        Self(self.0.with_outcome(outcome))
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
    /// passed over, fails here too, where a COMMIT would have answered success. Roll back and deliver the message
    /// again; committing would keep a part of the effect, or none.
    pub async fn finish(self, tx: &Transaction<'_>) -> Result<()> {
        self.0.finish(&mut Plain(tx)).await
    }
}

/// A transaction of the user's own: nothing is prepared on its connection.
struct Plain<'t>(&'t Transaction<'t>);

#[async_trait]
impl SqlSession for Plain<'_> {
    async fn execute(&mut self, text: &'static str) -> std::result::Result<(), SqlError> {
        Ok(self.0.batch_execute(text).await?)
    }

    async fn query(
        &mut self,
        text: &'static str,
        params: &[&str],
    ) -> std::result::Result<Vec<String>, SqlError> {
        lines(&self.0.query_typed(text, &typed(params)).await?)
    }

    fn read_error(cause: &(dyn StdError + 'static)) -> Option<SqlError> {
        in_handler(cause)
    }
}

/// The statement of [`PostgresGuard::enter`], for other drivers (sqlx, diesel): the first of your transaction.
///
/// Parameters: `$1` bytea, [`Key::digest`]; `$2` bytea, 16 random bytes, new for each attempt; `$3` int8, the time
/// for which to remember the message if it is not finished, in microseconds; `$4` bytea, the payload's
/// [`Fingerprint`](ackonce::store::Fingerprint) or NULL; `$5` text and `$6` bytea, scope and message ID to keep readable, or both NULL.
///
/// It returns one row. Its column `answer` is `first` (process the message, with the row's `fence` for
/// [`finish_sql`]), `duplicate` (roll back, acknowledge), `busy` (roll back, do **not** acknowledge) or `mismatch`.
/// No row: the tables have another version. `detail` is the stored outcome or reason of a duplicate.
///
/// Its text depends on the schema alone, so make it once. The crate's front page has both statements in a program with sqlx.
///
/// ```
/// use ackonce_postgres::{SchemaName, enter_sql, finish_sql};
///
/// let schema = SchemaName::default();
/// let (enter, finish) = (enter_sql(&schema), finish_sql(&schema));
/// assert!(enter.contains("$6") && finish.contains("$5"));
/// ```
#[must_use]
pub fn enter_sql(schema: &SchemaName) -> String {
    Texts::new(schema).enter()
}

/// The statement of [`PostgresGuard::finish`], for other drivers: the last of your transaction before its COMMIT.
///
/// Parameters: `$1` and `$2` as for [`enter_sql`]; `$3` int8, the `fence` that it returned; `$4` int8, the time for which to
/// remember the message, in microseconds; `$5` bytea, the outcome to replay to a later copy, or NULL.
///
/// It must succeed and return one row. If it fails or returns none, roll back: PostgreSQL would answer the COMMIT
/// of a transaction in which a statement failed with success.
#[must_use]
pub fn finish_sql(schema: &SchemaName) -> String {
    Texts::new(schema).finish()
}
