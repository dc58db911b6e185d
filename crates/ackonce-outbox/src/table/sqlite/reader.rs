//! The thread that reads the file and sees its changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use ackonce_sqlite::rusqlite::{self, Connection};
use ackonce_sqlite::{SqliteStore, statement_failed};
use tokio::sync::{Notify, oneshot};

/// The interval at which a relay looks for commits of other connections, in this process or another. SQLite has no event for
/// them; its counter is read from shared memory.
const LOOK: Duration = Duration::from_millis(5);
/// The same without a relay: nothing is looked at.
const IDLE: Duration = Duration::from_secs(60);

/// Runs on the thread; false if the connection is not to be used again.
type Job = Box<dyn FnOnce(Result<&Connection>) -> bool + Send>;

/// A handle to the thread, which ends with it.
#[derive(Debug)]
pub(super) struct ReadThread {
    jobs: Sender<Job>,
    pub(super) heard: Arc<Notify>,
    watches: Arc<AtomicBool>,
}

impl ReadThread {
    pub(super) fn start(store: SqliteStore) -> Result<Self> {
        let (jobs, queue) = channel();
        let (heard, watches) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let thread = Thread { store, conn: None, seen: None, heard: heard.clone(), watches: watches.clone() };
        std::thread::Builder::new().name("ackonce-outbox".into()).spawn(move || thread.run(&queue)).map_err(
            |e| Error::new(ErrorKind::Unavailable, "outbox: its thread cannot be started").with_source(e),
        )?;
        Ok(Self { jobs, heard, watches })
    }

    /// Reads on the thread.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        doing: &'static str,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T> {
        let (reply, answer) = oneshot::channel();
        let job = move |conn: Result<&Connection>| {
            let read = conn.and_then(|conn| read(conn).map_err(|e| statement_failed(doing, e)));
            let is_clean = read.is_ok();
            // Nobody may wait for it any more.
            let _ = reply.send(read);
            is_clean
        };
        self.jobs.send(Box::new(job)).map_err(|_| ended())?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Has the file opened anew: the last connection may lead to one that was replaced.
    pub(super) fn reopen(&self) {
        let _ = self.jobs.send(Box::new(|_| false));
    }

    /// Looks for commits from now on.
    pub(super) fn watch(&self) {
        if !self.watches.swap(true, Ordering::Relaxed) {
            // Ends the long wait.
            let _ = self.jobs.send(Box::new(|conn| conn.is_ok()));
        }
    }
}

fn ended() -> Error {
    Error::new(ErrorKind::Unavailable, "outbox: its thread has ended").with_repeat(Repeat::Safe)
}

struct Thread {
    store: SqliteStore,
    conn: Option<Connection>,
    /// SQLite's counter of the commits of other connections.
    seen: Option<i64>,
    heard: Arc<Notify>,
    watches: Arc<AtomicBool>,
}

impl Thread {
    fn run(mut self, queue: &Receiver<Job>) {
        loop {
            let wait = if self.watches.load(Ordering::Relaxed) { LOOK } else { IDLE };
            match queue.recv_timeout(wait) {
                Ok(job) => {
                    let is_clean = job(self.open());
                    if !is_clean {
                        self.conn = None;
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.look(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn open(&mut self) -> Result<&Connection> {
        if self.conn.is_none() {
            self.conn = Some(self.store.connect_read_only()?);
            self.seen = None;
        }
        self.conn.as_ref().ok_or_else(ended)
    }

    fn look(&mut self) {
        if !self.watches.load(Ordering::Relaxed) {
            return;
        }
        let Some(conn) = &self.conn else { return };
        let version = conn.pragma_query_value(None, "data_version", |row| row.get(0)).ok();
        if version != self.seen {
            self.seen = version;
            self.heard.notify_one();
        }
    }
}
