//! The inbox for applications that own the transaction: a claim inside it.

use std::cell::RefCell;
use std::time::Duration;

use ackonce::store::{
    ClaimRequest, Claimed, Entered, GuardOptions, Lease, MAX_VALUE_LEN, Names, Repeat, Token, value_too_long,
};
use ackonce::{Error, ErrorKind, Key, Result, protocol};
use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionState};

use crate::clock::{Clock, micros};
use crate::config::GENERATION_SIZE;
use crate::error::rolled_back;
use crate::records::columns::truncated;
use crate::records::generations::FilterSource;
use crate::records::write::names_of;
use crate::records::{FileCache, RecordSettings, Records};
use crate::schema;

/// A claim inside a transaction of yours, on a connection of yours to the store's file (or to any file that
/// [`create_schema`](crate::create_schema) prepared).
///
/// ```
/// # use ackonce_sqlite::{create_schema, rusqlite::{Connection, TransactionBehavior}};
/// use ackonce::Scope;
/// use ackonce_sqlite::{Entered, GuardOptions, SqliteGuard};
/// # let mut conn = Connection::open_in_memory()?;
/// # create_schema(&conn)?;
/// // SQLite's own waiter (`busy_timeout`) asks for the lock ten times a second, and starves beside a store that writes without
/// // a break. This one asks each millisecond, for about five seconds.
/// conn.busy_handler(Some(|asked| {
///     std::thread::sleep(std::time::Duration::from_millis(1));
///     asked < 5000
/// }))?;
/// # conn.execute_batch("CREATE TABLE account (balance INTEGER); INSERT INTO account VALUES (0)")?;
/// let key = Scope::new("billing/deposit")?.key("evt_1")?;
/// let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
/// if let Entered::First(guard) = SqliteGuard::enter(&tx, &key, &GuardOptions::default())? {
///     tx.execute("UPDATE account SET balance = balance + 5", ())?;
///     guard.finish(&tx)?;
///     tx.commit()?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Crashes
/// Before the commit, claim, effect and record are absent, and the message runs again. Unlike a claim in a store this
/// attempt is not counted, so a message that kills the process is not detected. After the commit all three are there.
/// A commit without [`finish`](Self::finish) leaves a claim whose lease ends at once: the next delivery repeats the
/// effect.
///
/// SQLite sometimes rolls the transaction back by itself (a full disk, `ON CONFLICT ROLLBACK`), and the next
/// statement then commits alone: return every error to the caller. [`finish`](Self::finish) then fails, but cannot
/// undo such a statement; a [`SqliteInbox`](crate::SqliteInbox) does not let its handler run one.
///
/// The connection and its settings are yours: with `synchronous` below `FULL` a power cut may lose effect and record
/// of an acknowledged message; [`weaknesses`](Self::weaknesses) lists such settings.
#[derive(Debug)]
#[must_use = "a transaction that commits without finish() has an effect and no record"]
pub struct SqliteGuard {
    lease: Lease,
    window: Duration,
    outcome: Option<Bytes>,
    names: Names,
    cache: RefCell<FileCache>,
}

impl SqliteGuard {
    /// Claims `key` in this transaction, before its effects.
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): no transaction is open, or it was not begun as
    ///   [`Immediate`](rusqlite::TransactionBehavior::Immediate), or the tables are missing. (A deferred transaction
    ///   that has read fails at its first write, without waiting for the busy time-out, if another process has
    ///   written since.)
    /// - [`NewerSchema`](ErrorKind::NewerSchema), [`Corrupt`](ErrorKind::Corrupt) and the errors of a write in
    ///   SQLite. Roll back.
    pub fn enter(tx: &Transaction<'_>, key: &Key, options: &GuardOptions) -> Result<Entered<Self>> {
        let state = tx.transaction_state(Some("main")).map_err(|e| rolled_back("entering", e))?;
        if tx.is_autocommit() || state != TransactionState::Write {
            return Err(Error::new(
                ErrorKind::Config,
                "sqlite: the transaction must be begun with TransactionBehavior::Immediate",
            ));
        }
        schema::check(tx)?;
        let request = ClaimRequest {
            key: key.clone(),
            token: Token::random(),
            // No other transaction sees the claim before it is completed.
            lease: Duration::ZERO,
            window: options.window(),
            fingerprint: options.fingerprint().map(truncated),
        };
        let (now, names) = (Clock::default().now(), options.names());
        let cache = FileCache::empty(FilterSource::InFile);
        let records = Records::new(tx, &cache, settings(names))?;
        let record_key = records.record_key(key);
        let found = records.lookup(&record_key, None, now)?;
        let (answer, change) = protocol::claim(found.as_ref().map(|f| &f.row), &request, now);
        let location = found.as_ref().map(|f| f.location);
        if let Some(row) = change.or(found.filter(|f| f.shifted).map(|f| f.row)) {
            records.write(&record_key, names_of(key), &row, location, now)?;
        }
        Ok(match answer {
            Claimed::Acquired(lease) => {
                Entered::First(Self { lease, window: options.window(), outcome: None, names, cache })
            }
            Claimed::Done(record) => Entered::Duplicate(record),
            Claimed::Busy { free_in } => Entered::Busy { free_in },
            Claimed::Mismatch(record) => Entered::Mismatch(record),
        })
    }

    /// Stores an outcome with the record, to replay to later copies of the message.
    pub fn with_outcome(mut self, outcome: Bytes) -> Self {
        self.outcome = Some(outcome);
        self
    }

    /// The claim, with its fence and the number of the attempt.
    #[must_use]
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Completes the message, as the transaction's last statement before its commit.
    ///
    /// # Errors
    /// [`Protocol`](ErrorKind::Protocol) if the transaction no longer holds the claim: SQLite rolled it back, the
    /// code between went back to an earlier savepoint, or this is another transaction. Roll back and deliver the
    /// message again; a commit would keep a part of the effect. Otherwise the errors of a write in SQLite.
    pub fn finish(self, tx: &Transaction<'_>) -> Result<()> {
        let len = self.outcome.as_ref().map_or(0, Bytes::len);
        if len > MAX_VALUE_LEN {
            return Err(value_too_long("sqlite", len));
        }
        let now = Clock::default().now();
        let expires = now.saturating_add(micros(self.window));
        let complete = || {
            let records = Records::new(tx, &self.cache, settings(self.names))?;
            records.complete(&self.lease, self.outcome.as_ref(), expires, now)
        };
        if !tx.is_autocommit() && complete()? {
            return Ok(());
        }
        let message =
            "sqlite: the transaction no longer holds the claim; roll back and deliver the message again";
        Err(Error::new(ErrorKind::Protocol, message).with_repeat(Repeat::Safe))
    }

    /// The settings of this connection that weaken the promise, one sentence each, to log at start.
    ///
    /// # Errors
    /// The errors of a read in SQLite.
    pub fn weaknesses(conn: &Connection) -> Result<Vec<String>> {
        let read = || -> rusqlite::Result<(i64, String)> {
            let synchronous = conn.pragma_query_value(None, "synchronous", |r| r.get(0))?;
            Ok((synchronous, conn.pragma_query_value(None, "journal_mode", |r| r.get(0))?))
        };
        let (synchronous, journal) = read().map_err(|e| rolled_back("reading the settings", e))?;
        let mut found = Vec::new();
        if synchronous < 2 {
            found.push("synchronous is below FULL: a power cut loses the latest commits".into());
        }
        if journal == "off" || journal == "memory" {
            found.push(format!("journal_mode={journal}: a killed process damages the file"));
        }
        Ok(found)
    }
}

fn settings(names: Names) -> RecordSettings {
    RecordSettings { names, generation_size: GENERATION_SIZE }
}
