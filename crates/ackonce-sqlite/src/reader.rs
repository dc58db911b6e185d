//! The reader: it inspects the store beside the writer, on a connection that cannot write.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::{fs, io, thread};

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use tokio::sync::{Semaphore, oneshot};

use crate::SqliteConfig;
use crate::identity::{Current, beside};
use crate::open::Session;
use crate::scan::Scan;

/// It opens a connection and a thread for each inspection: inspections are rare, and a connection that is not open
/// blocks no other and cannot be stale.
#[derive(Debug)]
pub(crate) struct Reader {
    config: SqliteConfig,
    current: Current,
    /// Admits one inspection at a time.
    turn: Arc<Semaphore>,
}

impl Reader {
    pub(crate) fn new(config: SqliteConfig, current: Current) -> Self {
        Self { config, current, turn: Arc::new(Semaphore::new(1)) }
    }

    pub(crate) async fn scan<T: Send + 'static>(
        &self,
        scan: impl FnOnce(&Scan<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| no_answer())?;
        self.current.lock().unwrap_or_else(PoisonError::into_inner).check()?;
        let (reply, answer) = oneshot::channel();
        let config = self.config.clone();
        let scan = move || {
            let _turn = turn;
            let gone = || reply.is_closed();
            let seen = Session::read_only(&config).and_then(|session| {
                let (conn, known) = (&session.conn, &session.known);
                scan(&Scan { conn, known, keeping: config.keeping(), clock: &config.clock, gone: &gone })
            });
            let _ = reply.send(seen);
        };
        thread::Builder::new().name("ackonce-scan".into()).spawn(scan).map_err(|e| {
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
        Ok(size(file.clone())? + size(beside(file, "-wal"))?)
    }
}

fn no_answer() -> Error {
    Error::new(ErrorKind::Unavailable, "sqlite: the scan ended without an answer").with_repeat(Repeat::Safe)
}
