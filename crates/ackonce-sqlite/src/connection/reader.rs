//! The reader: it inspects the store beside the writer, on a connection that cannot write.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::{fs, io, thread};

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, oneshot};

use super::Session;
use super::identity::{CurrentFile, path_with_suffix};
use crate::SqliteConfig;
use crate::error::rolled_back;
use crate::records::Records;

/// It opens a connection and a thread for each inspection: inspections are rare, and a connection that is not open
/// blocks no other and cannot be stale.
#[derive(Debug)]
pub(crate) struct Reader {
    config: SqliteConfig,
    current: CurrentFile,
    /// Admits one inspection at a time.
    admission: Arc<Semaphore>,
}

/// One inspection, on a connection of its own.
pub(crate) struct Inspection<'i> {
    session: &'i Session,
    config: &'i SqliteConfig,
    is_abandoned: &'i dyn Fn() -> bool,
}

impl Inspection<'_> {
    /// True once its caller has gone away.
    pub(crate) fn is_abandoned(&self) -> bool {
        (self.is_abandoned)()
    }

    /// Runs `read` on a snapshot, so that a record that moves from one table to another appears in exactly one of
    /// them. A long read keeps the log from starting over: no snapshot should span more than a chunk of a table.
    pub(crate) fn in_snapshot<T>(&self, read: impl FnOnce(&Records<'_>, u64) -> Result<T>) -> Result<T> {
        let failed = |e| rolled_back("reading the records", e);
        let tx = self.session.conn.unchecked_transaction().map_err(failed)?;
        let records = Records::new(&tx, &self.session.cache, self.config.record_settings());
        let answer = read(&records?, self.config.clock.now())?;
        tx.finish().map_err(failed)?;
        Ok(answer)
    }
}

impl Reader {
    pub(crate) fn new(config: SqliteConfig, current: CurrentFile) -> Self {
        Self { config, current, admission: Arc::new(Semaphore::new(1)) }
    }

    /// Runs an inspection on a thread of its own, after those that came before.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        inspect: impl FnOnce(&Inspection<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let permit = Arc::clone(&self.admission).acquire_owned().await.map_err(|_| no_answer())?;
        self.current.lock().unwrap_or_else(PoisonError::into_inner).check()?;
        let (reply, answer) = oneshot::channel();
        let config = self.config.clone();
        let run = move || {
            let _permit = permit;
            let is_abandoned = || reply.is_closed();
            let result = Session::read_only(&config).and_then(|session| {
                inspect(&Inspection { session: &session, config: &config, is_abandoned: &is_abandoned })
            });
            let _ = reply.send(result);
        };
        thread::Builder::new().name("ackonce-inspect".into()).spawn(run).map_err(|e| {
            Error::new(ErrorKind::Unavailable, "sqlite: no thread can be started for an inspection")
                .with_source(e)
        })?;
        answer.await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// The size of the file and its log in bytes.
    pub(crate) fn bytes(&self) -> Result<u64> {
        let file = &self.config.path;
        let size = |path: PathBuf| match fs::metadata(path) {
            Ok(found) => Ok(found.len()),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(e) => Err(Error::new(ErrorKind::Unavailable, "sqlite: the size of the file cannot be read")
                .with_repeat(Repeat::Safe)
                .with_source(e)),
        };
        Ok(size(file.clone())? + size(path_with_suffix(file, "-wal"))?)
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Unavailable, "sqlite: the inspection ended without an answer")
        .with_repeat(Repeat::Safe)
}
