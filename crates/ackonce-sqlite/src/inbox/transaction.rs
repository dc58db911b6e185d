//! An inbox handler's view of its transaction, which remembers the first statement that failed.

use std::cell::RefCell;
use std::fmt;

use rusqlite::{CachedStatement, Error, Params, Result, Row, Transaction};

use crate::error::is_environment;

/// The transaction that commits a handler's effect together with its record.
///
/// Every statement run through it is watched: SQLite undoes a failed statement alone and lets the transaction go on,
/// so a handler that swallows the error and answers success would commit a part of its effect. The store refuses such
/// a success: it rolls the handler's work back and retries the message. Use [`unwatched`](Self::unwatched) for a
/// failure that the handler expects and handles, or for a function that takes a [`Connection`](rusqlite::Connection).
///
/// ```
/// # use ackonce_sqlite::SqliteStore;
/// use ackonce::{Context, Failure};
/// use ackonce_sqlite::InboxTx;
/// # let directory = tempfile::tempdir()?;
/// # let store = SqliteStore::open(directory.path().join("app.db"))?;
/// let inbox = store.inbox(|tx: &InboxTx<'_>, _cx: &Context, lines: &Vec<(String, i64)>| {
///     let mut insert = tx.prepare("INSERT INTO line (article, amount) VALUES (?1, ?2)")?;
///     for line in lines {
///         insert.execute((&line.0, line.1))?;
///     }
///     // The day may be there already: a statement that fails here does not undo the message.
///     let _ = tx.unwatched().execute("INSERT INTO seen (day) VALUES (date())", ());
///     Ok::<_, Failure>(())
/// });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// No method or statement can commit it, roll it back or begin it anew, write to the store's own tables or attach
/// other files; SQLite refuses those ("not authorized"). The handler may use savepoints of its own.
pub struct InboxTx<'t> {
    tx: &'t Transaction<'t>,
    failed: RefCell<Option<FailedStatement>>,
}

/// The first statement that failed.
pub(super) struct FailedStatement {
    pub(super) text: String,
    /// The cause if it lies in the disk or the file, which is not the handler's fault.
    pub(super) environment: Option<ackonce::Error>,
}

impl<'t> InboxTx<'t> {
    pub(super) fn new(tx: &'t Transaction<'t>) -> Self {
        Self { tx, failed: RefCell::new(None) }
    }

    pub(super) fn into_failed(self) -> Option<FailedStatement> {
        self.failed.into_inner()
    }

    /// Runs one statement that returns no rows; returns the number of rows that it changed.
    ///
    /// # Errors
    /// Those of [`rusqlite::Connection::execute`].
    pub fn execute<P: Params>(&self, sql: &str, params: P) -> Result<usize> {
        self.watch(self.tx.execute(sql, params))
    }

    /// Runs statements without parameters.
    ///
    /// # Errors
    /// Those of [`rusqlite::Connection::execute_batch`].
    pub fn execute_batch(&self, sql: &str) -> Result<()> {
        self.watch(self.tx.execute_batch(sql))
    }

    /// Runs a query and maps its first row.
    ///
    /// # Errors
    /// Those of [`rusqlite::Connection::query_row`]; no row is
    /// [`QueryReturnedNoRows`](rusqlite::Error::QueryReturnedNoRows), which is no failed statement.
    pub fn query_row<T, P: Params>(
        &self,
        sql: &str,
        params: P,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        self.watch(self.tx.query_row(sql, params, map))
    }

    /// Compiles a statement, or takes it from the store's cache of compiled ones.
    ///
    /// # Errors
    /// Those of [`rusqlite::Connection::prepare_cached`].
    pub fn prepare(&self, sql: &str) -> Result<InboxStatement<'_>> {
        let statement = self.watch(self.tx.prepare_cached(sql))?;
        Ok(InboxStatement { statement, failed: &self.failed })
    }

    /// The row ID of the last row inserted.
    #[must_use]
    pub fn last_insert_rowid(&self) -> i64 {
        self.tx.last_insert_rowid()
    }

    /// The transaction itself. The handler is responsible for a statement that fails on it: the changes before the
    /// failure commit if the handler then answers success.
    #[must_use]
    pub fn unwatched(&self) -> &Transaction<'t> {
        self.tx
    }

    fn watch<T>(&self, result: Result<T>) -> Result<T> {
        watch(&self.failed, result)
    }
}

impl fmt::Debug for InboxTx<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxTx").finish_non_exhaustive()
    }
}

/// A compiled statement, watched as its transaction is. [`InboxTx::prepare`] makes one.
///
/// The store keeps compiled statements from one message to the next, so prepare one where a handler runs it for each
/// message or several times in one.
pub struct InboxStatement<'s> {
    statement: CachedStatement<'s>,
    failed: &'s RefCell<Option<FailedStatement>>,
}

impl InboxStatement<'_> {
    /// Runs the statement; returns the number of rows that it changed.
    ///
    /// # Errors
    /// Those of [`rusqlite::Statement::execute`].
    pub fn execute<P: Params>(&mut self, params: P) -> Result<usize> {
        watch(self.failed, self.statement.execute(params))
    }

    /// Runs the statement and maps its first row.
    ///
    /// # Errors
    /// Those of [`rusqlite::Statement::query_row`].
    pub fn query_row<T, P: Params>(
        &mut self,
        params: P,
        map: impl FnOnce(&Row<'_>) -> Result<T>,
    ) -> Result<T> {
        watch(self.failed, self.statement.query_row(params, map))
    }

    /// Runs the statement and maps each row when the iterator reaches it.
    ///
    /// # Errors
    /// Those of [`rusqlite::Statement::query_map`], then those of each row.
    pub fn query_map<'q, T, P: Params>(
        &'q mut self,
        params: P,
        map: impl FnMut(&Row<'_>) -> Result<T> + 'q,
    ) -> Result<impl Iterator<Item = Result<T>> + 'q> {
        let failed = self.failed;
        let rows = watch(failed, self.statement.query_map(params, map))?;
        Ok(rows.map(move |row| watch(failed, row)))
    }
}

impl fmt::Debug for InboxStatement<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboxStatement").finish_non_exhaustive()
    }
}

fn watch<T>(failed: &RefCell<Option<FailedStatement>>, result: Result<T>) -> Result<T> {
    match &result {
        Ok(_) | Err(Error::QueryReturnedNoRows) => {}
        Err(error) => {
            failed.borrow_mut().get_or_insert_with(|| FailedStatement::of(error));
        }
    }
    result
}

impl FailedStatement {
    pub(super) fn of(error: &Error) -> Self {
        Self { text: error.to_string(), environment: is_environment(error).then(|| environment(error)) }
    }
}

/// A copy of the error for the store's own error, because the handler keeps the original.
fn environment(error: &Error) -> ackonce::Error {
    let copy = match error {
        Error::SqliteFailure(code, text) => Error::SqliteFailure(*code, text.clone()),
        other => Error::SqliteFailure(
            other.sqlite_error().copied().unwrap_or(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ERROR)),
            Some(other.to_string()),
        ),
    };
    crate::error::rolled_back("running an inbox handler", copy)
}
