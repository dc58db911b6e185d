//! The way into the store's file for crates that keep tables of their own beside the records.

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Connection, Transaction};
use tokio::sync::oneshot;

use crate::SqliteStore;
use crate::connection::{SAVEPOINT, Session};
use crate::error::rolled_back;
use crate::writer::command::{Command, CommandContext, GroupOutcome};

type Work<T> = dyn FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send;

impl SqliteStore {
    /// Runs `work` on the store's writer, in the transaction of the next group: it shares the group's flush with claims and
    /// settlements, and waits for no lock. `work` must be quick and do nothing but database work.
    ///
    /// ```
    /// # use ackonce_sqlite::SqliteStore;
    /// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
    /// # let directory = tempfile::tempdir()?;
    /// # let store = SqliteStore::open(directory.path().join("app.db"))?;
    /// store.write(|tx| tx.execute_batch("CREATE TABLE IF NOT EXISTS account (balance INTEGER)")).await?;
    /// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
    /// ```
    ///
    /// # Crashes
    /// Before the answer, all of its changes are in the file or none.
    ///
    /// # Errors
    /// Those of its statements, after its changes alone were rolled back, and those of a commit.
    pub async fn write<T, F>(&self, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        self.writer().call(|reply| Write { work: Box::new(work), own: None, reply }).await
    }

    /// Opens a further connection to the file, with the store's settings and without the right to write. Blocks for some
    /// file accesses.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn connect_read_only(&self) -> Result<Connection> {
        Session::read_only(self.config()).map(|session| session.conn)
    }
}

struct Write<T> {
    work: Box<Work<T>>,
    own: Option<Result<T>>,
    reply: oneshot::Sender<Result<T>>,
}

impl<T> Write<T> {
    fn attempt(&mut self, tx: &Transaction<'_>) -> Result<Result<T>> {
        let savepoint = |verb: &str| {
            tx.execute_batch(&format!("{verb} {SAVEPOINT}")).map_err(|e| rolled_back("a savepoint", e))
        };
        savepoint("SAVEPOINT")?;
        let worked = (self.work)(tx).map_err(|e| rolled_back("writing", e));
        if tx.is_autocommit() {
            let ended = || Error::new(ErrorKind::Unavailable, "sqlite: the transaction was rolled back");
            return Err(worked.err().unwrap_or_else(ended).with_repeat(Repeat::Safe));
        }
        if worked.is_err() {
            savepoint("ROLLBACK TO")?;
        }
        savepoint("RELEASE")?;
        Ok(worked)
    }
}

impl<T: Send> Command for Write<T> {
    fn rows(&self) -> usize {
        1
    }

    fn runs_user_code(&self) -> bool {
        true
    }

    fn run(&mut self, cx: &CommandContext<'_>) -> Result<usize> {
        let own = self.attempt(cx.tx)?;
        let written = usize::from(own.is_ok());
        self.own = Some(own);
        Ok(written)
    }

    fn answer(self: Box<Self>, outcome: &GroupOutcome) {
        let not_run = || Err(Error::new(ErrorKind::Unavailable, "sqlite: the write was not run"));
        let _ = self.reply.send(outcome.answer(self.own.unwrap_or_else(not_run)));
    }
}
