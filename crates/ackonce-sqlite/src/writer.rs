//! The writer thread: all commands that are waiting go into one transaction, so that one flush of the disk serves all
//! of them (group commit).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ackonce::store::{Repeat, Sweep};
use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::SqliteConfig;
use crate::authorize::Handling;
use crate::clock::{Clock, is_due};
use crate::cursor::Cursor;
use crate::error::{breaks_connection, commit, rolled_back};
use crate::identity::{Current, Left};
use crate::open::Session;
use crate::records::Records;
use crate::room::{self, Room};
use crate::sweep::Sweeper;

/// The maximum number of waiting commands; a caller waits for room beyond that.
const QUEUE: usize = 1024;
/// A group takes no further command after this many rows, or after a handler has made it run for this time: the
/// callers of its commands wait for all of it.
const GROUP_ROWS: usize = 4096;
const GROUP_TIME: Duration = Duration::from_millis(25);
/// The interval at which an idle writer sweeps some records.
const IDLE: Duration = Duration::from_secs(1);
/// The minimum interval between two equal warnings.
const WARNED: Duration = Duration::from_secs(10);

/// The context in which a command runs.
pub(crate) struct Turn<'t> {
    pub(crate) tx: &'t Transaction<'t>,
    pub(crate) handling: &'t Handling,
    pub(crate) records: &'t Records<'t>,
    pub(crate) clock: &'t Clock,
}

/// The outcome of a group.
#[derive(Debug, Clone)]
pub(crate) enum Outcome {
    /// The group is on the disk, as far as the store's settings go.
    Committed,
    /// The group was rolled back because one of its commands violated a constraint that is checked at the commit.
    Refused(Error),
    /// The group was rolled back, or its outcome is unknown; the error says which.
    Failed(Error),
}

/// A command for the writer.
pub(crate) trait Work: Send {
    /// The maximum number of rows that the command touches.
    fn rows(&self) -> usize;

    /// True if it must be the only one in its group.
    fn alone(&self) -> bool {
        false
    }

    /// True if it runs the user's code, which may be slow.
    fn is_foreign(&self) -> bool {
        false
    }

    /// Runs the command inside the group's transaction; returns the number of records that it wrote.
    ///
    /// # Errors
    /// The group cannot be committed. A failure of this command alone is no error here: the command keeps it for its
    /// answer.
    fn run(&mut self, turn: &Turn<'_>) -> Result<usize>;

    /// True if it met a full store and was undone alone, so that the group was committed without it.
    fn met_full(&self) -> bool {
        false
    }

    /// Answers its caller, once, whether it ran or not.
    fn answer(self: Box<Self>, outcome: &Outcome);
}

/// A command and its place in the queue.
struct Job {
    work: Box<dyn Work>,
    _permit: OwnedSemaphorePermit,
}

/// The callers' end of the queue. The thread ends and closes the file when all of them are dropped.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Job>,
    room: Arc<Semaphore>,
}

impl Writer {
    pub(crate) fn start(
        session: Session,
        config: SqliteConfig,
        mut room: Room,
        current: Current,
    ) -> Result<Self> {
        let (queue, jobs) = mpsc::channel();
        room.may_grow();
        let (session, sweeper) = (Some(session), Sweeper::new());
        let (last, held, pressed, warned) = (None, None, None, None);
        let thread = Thread { config, session, last, current, room, jobs, held, sweeper, pressed, warned };
        thread::Builder::new().name("ackonce-sqlite".into()).spawn(move || thread.run()).map_err(|e| {
            Error::new(ErrorKind::Unavailable, "sqlite: the writer thread cannot be started").with_source(e)
        })?;
        Ok(Self { queue, room: Arc::new(Semaphore::new(QUEUE)) })
    }

    /// Queues a command, waiting for room.
    pub(crate) async fn submit(&self, work: impl Work + 'static) -> Result<()> {
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(|_| ended(Repeat::Safe))?;
        self.queue.send(Job { work: Box::new(work), _permit: permit }).map_err(|_| ended(Repeat::Safe))
    }

    /// Queues the command that `work` makes around a reply, and waits for the reply.
    pub(crate) async fn call<T, W: Work + 'static>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T>>) -> W,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        self.submit(work(reply)).await?;
        answer.await.unwrap_or_else(|_| Err(ended(Repeat::Unknown)))
    }
}

pub(crate) fn ended(repeat: Repeat) -> Error {
    Error::new(ErrorKind::Unavailable, "sqlite: the writer thread has ended").with_repeat(repeat)
}

pub(crate) struct Thread {
    pub(crate) config: SqliteConfig,
    pub(crate) session: Option<Session>,
    /// The file of the last connection, if that connection was closed.
    last: Option<Left>,
    current: Current,
    pub(crate) room: Room,
    jobs: mpsc::Receiver<Job>,
    /// A command that was taken from the queue too late for the last group, or that must run alone.
    held: Option<Job>,
    pub(crate) sweeper: Sweeper,
    /// The place at which the sweep of a full store goes on.
    pub(crate) pressed: Option<Cursor>,
    /// The time of the last warning that a connection is opened anew.
    warned: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        loop {
            let job = match self.held.take().map_or_else(|| self.jobs.recv_timeout(IDLE), Ok) {
                Ok(job) => Some(job),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            // The user's code runs here (a setup, a message's drop). If it panics, the connection is dropped with its
            // transaction, and the callers learn that their answer is lost.
            let work = || match job {
                Some(job) => self.group(job),
                None => self.idle(),
            };
            if catch_unwind(AssertUnwindSafe(work)).is_err() && is_due(&mut self.warned, WARNED) {
                tracing::error!(target: "ackonce", "a panic on the writer thread; the connection is opened anew");
            }
        }
    }

    fn group(&mut self, first: Job) {
        let mut group = vec![first];
        let outcome = match self.session() {
            Ok(session) => {
                let outcome = self.transact(&session, &mut group);
                let full = matches!(&outcome, Outcome::Failed(error) if error.kind() == ErrorKind::Full);
                self.keep(session, &outcome);
                if full || group.iter().any(|job| job.work.met_full()) {
                    self.make_room();
                }
                outcome
            }
            Err(error) => {
                group.extend(self.jobs.try_iter());
                Outcome::Failed(error)
            }
        };
        for job in group {
            job.work.answer(&outcome);
        }
    }

    /// Returns the connection, and opens it anew if the last one was closed.
    pub(crate) fn session(&mut self) -> Result<Session> {
        if let Some(session) = self.session.take() {
            return Ok(session);
        }
        self.last.as_ref().map_or(Ok(()), Left::check_successor)?;
        let session = self.room.opening(|| Session::reopen(&self.config))?;
        self.last = None;
        session.opened.clone_into(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(session)
    }

    /// Runs the group's first command and those that come in meanwhile, then commits.
    fn transact(&mut self, session: &Session, group: &mut Vec<Job>) -> Outcome {
        if let Err(error) = session.let_grow(self.room.may_grow(), &self.config) {
            return Outcome::Failed(error);
        }
        let tx = match Transaction::new_unchecked(&session.conn, TransactionBehavior::Immediate) {
            Ok(tx) => tx,
            Err(e) => {
                // Commands that waited in the queue have waited as long: one time-out serves them all.
                group.extend(self.jobs.try_iter());
                return Outcome::Failed(rolled_back("locking the file", e));
            }
        };
        if session.opened.has_moved() {
            return Outcome::Failed(session.opened.moved());
        }
        let ran = Records::of(&tx, &session.known, self.config.keeping()).and_then(|records| {
            let clock = &self.config.clock.clone();
            self.run_all(&Turn { tx: &tx, handling: &session.handling, records: &records, clock }, group)
        });
        let grown = ran.and_then(|written| match written {
            // Duplicates alone change nothing.
            0 => Ok(None),
            _ => self.room.check(&tx).map(Some),
        });
        let grown = match grown {
            Ok(grown) => grown,
            Err(error) => return Outcome::Failed(error),
        };
        let refused =
            |e: &rusqlite::Error| e.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation);
        match tx.commit() {
            // The records went with the file that was there.
            Ok(()) if grown.is_some() && session.opened.has_moved() => {
                Outcome::Failed(session.opened.moved().with_repeat(Repeat::Unknown))
            }
            Ok(()) => {
                if grown == Some(true) {
                    room::carry_over(&session.conn);
                }
                Outcome::Committed
            }
            Err(e) if refused(&e) => Outcome::Refused(commit(e)),
            Err(e) => Outcome::Failed(commit(e)),
        }
    }

    /// Returns the number of records that they wrote.
    fn run_all(&mut self, turn: &Turn<'_>, group: &mut Vec<Job>) -> Result<usize> {
        let started = Instant::now();
        let (mut rows, mut written) = (0, 0);
        // The last one is the one to run; those before it have run.
        while let Some(job) = group.last_mut() {
            rows += job.work.rows();
            written += job.work.run(turn)?;
            still_open(turn)?;
            let slow = job.work.is_foreign() && started.elapsed() >= GROUP_TIME;
            if job.work.alone() || rows >= GROUP_ROWS || slow {
                break;
            }
            match self.jobs.try_recv() {
                Ok(job) if job.work.alone() => {
                    self.held = Some(job);
                    break;
                }
                Ok(job) => group.push(job),
                Err(_) => break,
            }
        }
        if self.config.sweep == Sweep::Automatic {
            self.sweeper.along(turn.records, written, turn.clock.now())?;
            still_open(turn)?;
        }
        Ok(written)
    }

    /// Keeps a connection that can be used again; any other is closed, and the next group opens a new one.
    pub(crate) fn keep(&mut self, session: Session, outcome: &Outcome) {
        let broken = match outcome {
            Outcome::Failed(error) => breaks_connection(error) || session.opened.has_moved(),
            _ => false,
        };
        if broken || !session.conn.is_autocommit() {
            if is_due(&mut self.warned, WARNED) {
                let file = self.config.path.display();
                tracing::warn!(target: "ackonce", ?outcome, %file, "the connection is closed and opened anew");
            }
            self.last = Some(session.opened.leave());
        } else {
            self.session = Some(session);
        }
    }
}

/// SQLite rolls a transaction back by itself when it must (a full disk, a failed read, `ON CONFLICT
/// ROLLBACK`); the next statement would then commit alone.
fn still_open(turn: &Turn<'_>) -> Result<()> {
    if turn.tx.is_autocommit() {
        let error =
            Error::new(ErrorKind::Unavailable, "sqlite: the transaction was rolled back under the group");
        return Err(error.with_repeat(Repeat::Safe));
    }
    Ok(())
}
