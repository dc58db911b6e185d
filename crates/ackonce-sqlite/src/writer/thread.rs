//! The writer thread: all commands that are waiting go into one transaction, so that one flush of the disk serves all
//! of them (group commit).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::PoisonError;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use ackonce::store::{Repeat, Sweep};
use ackonce::{Error, ErrorKind, Result};
use rusqlite::Transaction;

use super::QueuedCommand;
use super::command::{CommandContext, GroupOutcome};
use super::sweeper::Sweeper;
use crate::SqliteConfig;
use crate::clock::is_due;
use crate::connection::disk::{self, DiskSpace};
use crate::connection::{ClosedFile, CurrentFile, Session};
use crate::error::{breaks_connection, commit, rolled_back};
use crate::records::Records;
use crate::records::cursor::Cursor;

/// A group takes no further command after this many rows, or after a handler has made it run for this time: the
/// callers of its commands wait for all of it.
const GROUP_ROWS: usize = 4096;
const GROUP_TIME: Duration = Duration::from_millis(25);
/// The interval at which an idle writer sweeps some records and looks at its file and its disk. None of the three has
/// an event: records expire by the clock, other processes write, and neither a replaced file nor room on the disk is
/// reported to a process.
const IDLE: Duration = Duration::from_secs(1);
/// The minimum interval between two equal warnings.
const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// The state of the writer thread.
pub(super) struct WriterThread {
    pub(super) config: SqliteConfig,
    /// The connection, unless it was closed.
    session: Option<Session>,
    /// The file of the last connection, if that connection was closed.
    closed_file: Option<ClosedFile>,
    current: CurrentFile,
    pub(super) disk: DiskSpace,
    commands: Receiver<QueuedCommand>,
    /// A command that was taken from the queue too late for the last group, or that must run alone.
    deferred: Option<QueuedCommand>,
    pub(super) sweeper: Sweeper,
    /// The position at which the sweep of a full store continues.
    pub(super) full_cursor: Option<Cursor>,
    /// The time of the last warning that a connection is opened anew.
    last_warning: Option<Instant>,
}

impl WriterThread {
    pub(super) fn new(
        session: Session,
        config: SqliteConfig,
        mut disk: DiskSpace,
        current: CurrentFile,
        commands: Receiver<QueuedCommand>,
    ) -> Self {
        // This creates the reserve.
        disk.may_grow();
        Self {
            config,
            session: Some(session),
            closed_file: None,
            current,
            disk,
            commands,
            deferred: None,
            sweeper: Sweeper::new(),
            full_cursor: None,
            last_warning: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            let command = match self.deferred.take().map_or_else(|| self.commands.recv_timeout(IDLE), Ok) {
                Ok(command) => Some(command),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // The user's code runs here (a setup, a message's drop). If it panics, the connection is dropped with its
            // transaction, and the callers learn that their answer is lost.
            let work = || match command {
                Some(command) => self.run_group(command),
                None => self.run_idle(),
            };
            if catch_unwind(AssertUnwindSafe(work)).is_err()
                && is_due(&mut self.last_warning, WARNING_INTERVAL)
            {
                tracing::error!(target: "ackonce", "a panic on the writer thread; the connection is opened anew");
            }
        }
    }

    /// Runs and answers the group that begins with this command.
    fn run_group(&mut self, first: QueuedCommand) {
        let mut group = vec![first];
        let outcome = match self.take_session() {
            Ok(session) => {
                let outcome = self.commit_group(&session, &mut group);
                let full = matches!(&outcome, GroupOutcome::Failed(error) if error.kind() == ErrorKind::Full);
                self.keep_or_close(session, &outcome);
                if full || group.iter().any(|queued| queued.command.met_full_store()) {
                    self.make_room();
                }
                outcome
            }
            Err(error) => {
                group.extend(self.commands.try_iter());
                GroupOutcome::Failed(error)
            }
        };
        for queued in group {
            queued.command.answer(&outcome);
        }
    }

    /// Returns the connection, and opens it anew if the last one was closed.
    pub(super) fn take_session(&mut self) -> Result<Session> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        self.closed_file.as_ref().map_or(Ok(()), ClosedFile::check_successor)?;
        let session = self.disk.open(|| Session::reopen(&self.config))?;
        self.closed_file = None;
        session.file.clone_into(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(session)
    }

    /// Runs the group's first command and those that come in meanwhile, then commits.
    fn commit_group(&mut self, session: &Session, group: &mut Vec<QueuedCommand>) -> GroupOutcome {
        if let Err(error) = session.allow_growth(self.disk.may_grow(), &self.config) {
            return GroupOutcome::Failed(error);
        }
        let tx = match session.begin(self.config.busy_timeout) {
            Ok(tx) => tx,
            Err(e) => {
                // Commands that waited in the queue have waited as long: one time-out serves them all.
                group.extend(self.commands.try_iter());
                return GroupOutcome::Failed(rolled_back("locking the file", e));
            }
        };
        if session.file.has_moved() {
            return GroupOutcome::Failed(session.file.moved_error());
        }
        let written = match self.run_commands(&tx, session, group) {
            Ok(written) => written,
            Err(error) => return GroupOutcome::Failed(error),
        };
        // Duplicates alone change nothing.
        let checkpoint_due = match written {
            0 => Ok(false),
            _ => self.disk.check_growth(&tx),
        };
        match checkpoint_due {
            Ok(checkpoint_due) => commit_transaction(tx, session, written > 0, checkpoint_due),
            Err(error) => GroupOutcome::Failed(error),
        }
    }

    /// Returns the number of records that they wrote.
    fn run_commands(
        &mut self,
        tx: &Transaction<'_>,
        session: &Session,
        group: &mut Vec<QueuedCommand>,
    ) -> Result<usize> {
        let records = &Records::new(tx, &session.cache, self.config.record_settings())?;
        let clock = &self.config.clock.clone();
        let cx = CommandContext { tx, authorizer: &session.authorizer, records, clock };
        let started = Instant::now();
        let (mut rows, mut written) = (0, 0);
        // The last one is the one to run; those before it have run.
        while let Some(QueuedCommand { command, .. }) = group.last_mut() {
            rows += command.rows();
            written += command.run(&cx)?;
            check_open(tx)?;
            let slow = command.runs_user_code() && started.elapsed() >= GROUP_TIME;
            if command.runs_alone() || rows >= GROUP_ROWS || slow {
                break;
            }
            match self.commands.try_recv() {
                Ok(next) if next.command.runs_alone() => {
                    self.deferred = Some(next);
                    break;
                }
                Ok(next) => group.push(next),
                Err(_) => break,
            }
        }
        if self.config.sweep == Sweep::Automatic {
            self.sweeper.sweep_with_group(records, written, clock.now())?;
            check_open(tx)?;
        }
        Ok(written)
    }

    /// Keeps a connection that can be used again; any other is closed, and the next group opens a new one.
    pub(super) fn keep_or_close(&mut self, session: Session, outcome: &GroupOutcome) {
        let broken = match outcome {
            GroupOutcome::Failed(error) => breaks_connection(error) || session.file.has_moved(),
            _ => false,
        };
        if !broken && session.conn.is_autocommit() {
            self.session = Some(session);
            return;
        }
        if is_due(&mut self.last_warning, WARNING_INTERVAL) {
            let file = self.config.path.display();
            tracing::warn!(target: "ackonce", ?outcome, %file, "the connection is closed and opened anew");
        }
        self.closed_file = Some(session.file.close());
    }
}

/// Commits a group that has changed records or not, and runs the checkpoint that is due after it.
fn commit_transaction(
    tx: Transaction<'_>,
    session: &Session,
    changed: bool,
    checkpoint_due: bool,
) -> GroupOutcome {
    match tx.commit() {
        // The records went with the file that was there.
        Ok(()) if changed && session.file.has_moved() => {
            GroupOutcome::Failed(session.file.moved_error().with_repeat(Repeat::Unknown))
        }
        Ok(()) => {
            if checkpoint_due {
                disk::checkpoint(&session.conn);
            }
            GroupOutcome::Committed
        }
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation) => {
            GroupOutcome::Refused(commit(e))
        }
        Err(e) => GroupOutcome::Failed(commit(e)),
    }
}

/// SQLite rolls a transaction back by itself when it must (a full disk, a failed read, `ON CONFLICT
/// ROLLBACK`); the next statement would then commit alone.
fn check_open(tx: &Transaction<'_>) -> Result<()> {
    if tx.is_autocommit() {
        let error =
            Error::new(ErrorKind::Unavailable, "sqlite: the transaction was rolled back under the group");
        return Err(error.with_repeat(Repeat::Safe));
    }
    Ok(())
}
