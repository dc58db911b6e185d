//! The inbox for callers who own the transaction: a claim inside that transaction.

use std::time::Duration;

use ackonce::store::{
    ClaimRequest, Claimed, Entered, GuardOptions, Lease, MAX_VALUE_LEN, Names, Repeat, Token, value_too_long,
};
use ackonce::{Error, ErrorKind, Key, Result};
use bytes::Bytes;
use tokio_postgres::Transaction;
use tokio_postgres::types::{ToSql, Type};

use crate::error::undone;
use crate::records::{Texts, decode};
use crate::request::{granted, micros};
use crate::{SchemaName, schema};

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
pub struct PostgresGuard {
    lease: Lease,
    schema: SchemaName,
    window: Duration,
    outcome: Option<Bytes>,
}

impl PostgresGuard {
    /// Claims `key` in this transaction, before its effects.
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the tables are missing, or the role lacks a privilege.
    /// - [`NewerSchema`](ErrorKind::NewerSchema), and any error of PostgreSQL for a write: at isolation levels above
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
        let request = ClaimRequest {
            key: key.clone(),
            token: Token::random(),
            // No other transaction sees the claim before it is completed.
            lease: Duration::ZERO,
            window: options.window(),
            fingerprint: options.fingerprint(),
        };
        let fingerprint = options.fingerprint();
        let name = (options.names() == Names::Keep).then_some(key);
        let params: [(&(dyn ToSql + Sync), Type); 6] = [
            (&&key.digest()[..], Type::BYTEA),
            (&&request.token.0[..], Type::BYTEA),
            (&micros(options.window()), Type::INT8),
            (&fingerprint.as_ref().map(|f| &f.0[..]), Type::BYTEA),
            (&name.map(|key| key.scope().name()), Type::TEXT),
            (&name.map(|key| &key.id()[..]), Type::BYTEA),
        ];
        let answer = tx.query_typed_opt(&enter_sql(schema), &params).await;
        let Some(row) = answer.map_err(|e| undone("entering", e))? else {
            // The schema has another version, or it is missing.
            return Err(match schema::salt(tx, schema).await? {
                Some(_) => schema::changed(schema),
                None => schema::missing(schema),
            });
        };
        let current = decode(&row)?.ok_or_else(|| schema::changed(schema))?;
        Ok(match granted(current, &request)?.answer {
            Claimed::Acquired(lease) => Entered::First(Self {
                lease,
                schema: schema.clone(),
                window: options.window(),
                outcome: None,
            }),
            Claimed::Done(record) => Entered::Duplicate(record),
            Claimed::Busy { free_in } => Entered::Busy { free_in },
            Claimed::Mismatch(record) => Entered::Mismatch(record),
        })
    }

    /// Adds an outcome to the record, to replay to a later copy of the message.
    pub fn with_outcome(mut self, outcome: Bytes) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// The claim, with its fence and the number of its attempt.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Completes the message, as the transaction's last statement before its commit.
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol) if the transaction no longer holds the claim: the code between went back
    /// to an earlier savepoint, or this is another transaction. A failed statement in between, whose error was
    /// passed over, fails here too, where a COMMIT would have answered success. Roll back and deliver the message
    /// again; committing would keep a part of the effect, or none.
    pub async fn finish(self, tx: &Transaction<'_>) -> Result<()> {
        if let Some(len) = self.outcome.as_ref().map(Bytes::len).filter(|len| *len > MAX_VALUE_LEN) {
            return Err(value_too_long("postgres", len));
        }
        let params: [(&(dyn ToSql + Sync), Type); 5] = [
            (&&self.lease.key.digest()[..], Type::BYTEA),
            (&&self.lease.token.0[..], Type::BYTEA),
            (&i64::try_from(self.lease.fence).unwrap_or(-1), Type::INT8),
            (&micros(self.window), Type::INT8),
            (&self.outcome.as_deref(), Type::BYTEA),
        ];
        match tx.query_typed_opt(&finish_sql(&self.schema), &params).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => {
                let message = "postgres: the transaction no longer holds the claim; roll back and deliver the \
                               message again";
                Err(Error::new(ErrorKind::Protocol, message).with_repeat(Repeat::Safe))
            }
            Err(e) => Err(undone("finishing", e)),
        }
    }
}

/// The statement of [`PostgresGuard::enter`], for other drivers (sqlx, diesel): the first of your transaction.
///
/// Parameters: `$1` bytea, [`Key::digest`]; `$2` bytea, 16 random bytes, new for each attempt; `$3` int8, the time
/// for which to remember the message if it is not finished, in microseconds; `$4` bytea, the payload's
/// [`Fingerprint`] or NULL; `$5` text and `$6` bytea, scope and message ID to keep readable, or both NULL.
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
