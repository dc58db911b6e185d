//! The store: claims and settlements go to the writer thread, one command per batch.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ackonce::store::{ClaimRequest, Claimed, Description, Settled, Settlement, check_value_len};
use ackonce::{Deduplicator, Result, protocol};
use async_trait::async_trait;

use crate::connection::Session;
use crate::connection::disk::DiskSpace;
use crate::connection::reader::Reader;
use crate::records::columns::truncated;
use crate::writer::Writer;
use crate::writer::batch::Batch;
use crate::{SqliteConfig, Synchronous, check};

/// Records in a SQLite file, for all processes of one host. Clones share one writer thread.
///
/// Batches that arrive during a flush of the disk wait and share the next flush. When the last clone is dropped, the
/// thread finishes the queued batches and closes the file.
///
/// A consumer takes the store and claims and settles by itself. Where the effect is rows in the same file, take the
/// store's [`inbox`](Self::inbox) for the handler: effect and record are then committed together.
///
/// ```
/// use ackonce::Deduplicator;
/// use ackonce_sqlite::SqliteStore;
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("dedup.db");
/// let store = SqliteStore::open(path)?;
/// // A file in memory or in a container's own layer is a weakness, for example.
/// for weakness in store.describe().weaknesses {
///     eprintln!("{weakness}");
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    writer: Writer,
    reader: Reader,
    config: SqliteConfig,
    weaknesses: Vec<String>,
}

impl SqliteStore {
    /// Opens the file at `path` with the defaults of [`SqliteConfig`], creating it and the store's tables
    /// where they are missing. Blocks for some file accesses; call it at start-up.
    ///
    /// The tables may live in a database of yours. It is switched to SQLite's write-ahead log.
    ///
    /// # Errors
    /// - [`Config`](ackonce::ErrorKind::Config): not the path of a file, a missing directory, a network filesystem, a
    ///   SQLite library that can damage the file.
    /// - [`ReadOnly`](ackonce::ErrorKind::ReadOnly): this user cannot write to it.
    /// - [`Corrupt`](ackonce::ErrorKind::Corrupt): it is no SQLite file, or a damaged one.
    /// - [`NewerSchema`](ackonce::ErrorKind::NewerSchema): a newer version of this crate wrote it.
    /// - [`Full`](ackonce::ErrorKind::Full), [`Unavailable`](ackonce::ErrorKind::Unavailable): as the message says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        SqliteConfig::new(path).open()
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    pub(crate) fn config(&self) -> &SqliteConfig {
        &self.inner.config
    }
}

impl SqliteConfig {
    /// Opens the store. Blocks for some file accesses; call it at start-up.
    ///
    /// # Errors
    /// As [`SqliteStore::open`].
    pub fn open(mut self) -> Result<SqliteStore> {
        check::library(rusqlite::version_number())?;
        let (path, mut weaknesses) = check::resolve(&self.path, self.fuse)?;
        self.path = path;
        if self.synchronous == Synchronous::Normal {
            weaknesses.push(
                "synchronous=NORMAL: a power cut or a crashed kernel loses the latest records, \
                 whose messages are acknowledged already"
                    .into(),
            );
        }
        let mut disk = DiskSpace::of(&self.path);
        let session = disk.open(|| Session::open(&self))?;
        let current = Arc::new(Mutex::new(session.file.clone()));
        let reader = Reader::new(self.clone(), Arc::clone(&current));
        let writer = Writer::start(session, self.clone(), disk, current)?;
        Ok(SqliteStore { inner: Arc::new(Inner { writer, reader, config: self, weaknesses }) })
    }
}

#[async_trait]
impl Deduplicator for SqliteStore {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let mut requests = requests.to_vec();
        for request in &mut requests {
            request.fingerprint = request.fingerprint.map(truncated);
        }
        self.writer().call(|reply| Batch::new(requests, protocol::claim, true, reply)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        settlements.iter().try_for_each(|s| check_value_len("sqlite", &s.action))?;
        let settlements = settlements.to_vec();
        self.writer().call(|reply| Batch::new(settlements, protocol::settle, false, reply)).await
    }

    fn describe(&self) -> Description {
        Description {
            name: format!("sqlite {}", self.inner.config.path.display()),
            weaknesses: self.inner.weaknesses.clone(),
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
