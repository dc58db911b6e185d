//! The store: claims and settlements go to the writer thread, one command per batch.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use ackonce::store::{ClaimRequest, Claimed, Description, Settle, Settled, Settlement};
use ackonce::{Deduplicator, Error, ErrorKind, Result, protocol};
use async_trait::async_trait;

use crate::batch::Batch;
use crate::columns::kept;
use crate::cursor::Cursor;
use crate::open::Session;
use crate::reader::Reader;
use crate::room::Room;
use crate::sweep;
use crate::writer::Writer;
use crate::{SqliteConfig, Synchronous, check};

/// The longest outcome or reason that is stored, in bytes (16 MiB).
pub const MAX_VALUE_LEN: usize = 16 << 20;

/// Records in a SQLite file, for all processes of one host. Clones share one writer thread.
///
/// Batches that arrive during a flush of the disk wait and share the next flush. When the last clone is dropped, the
/// thread finishes the queued batches and closes the file.
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
    /// - [`Config`](ErrorKind::Config): not the path of a file, a missing directory, a network filesystem, a
    ///   SQLite library that can damage the file.
    /// - [`ReadOnly`](ErrorKind::ReadOnly): this user cannot write to it.
    /// - [`Corrupt`](ErrorKind::Corrupt): it is no SQLite file, or a damaged one.
    /// - [`NewerSchema`](ErrorKind::NewerSchema): a newer version of this crate wrote it.
    /// - [`Full`](ErrorKind::Full), [`Unavailable`](ErrorKind::Unavailable): as the message says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::start(SqliteConfig::new(path))
    }

    pub(crate) fn start(mut config: SqliteConfig) -> Result<Self> {
        check::library(rusqlite::version_number())?;
        let (path, mut weaknesses) = check::resolve(&config.path, config.fuse)?;
        config.path = path;
        if config.synchronous == Synchronous::Normal {
            weaknesses.push(
                "synchronous=NORMAL: a power cut or a crashed kernel loses the latest records, \
                 whose messages are acknowledged already"
                    .into(),
            );
        }
        let mut room = Room::of(&config.path);
        let session = room.opening(|| Session::open(&config))?;
        let current = Arc::new(Mutex::new(session.opened.clone()));
        let reader = Reader::new(config.clone(), Arc::clone(&current));
        let writer = Writer::start(session, config.clone(), room, current)?;
        Ok(Self { inner: Arc::new(Inner { writer, reader, config, weaknesses }) })
    }

    pub(crate) fn writer(&self) -> &Writer {
        &self.inner.writer
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.inner.reader
    }

    /// Reads every record once and drops the expired ones; returns their number. Other work goes on in between.
    ///
    /// With [`Sweep::Automatic`](crate::Sweep::Automatic) the store does so by itself. The file does not shrink: new
    /// records use the free pages.
    ///
    /// # Errors
    /// The errors of any write to the store. A repeat is safe and starts from the beginning.
    pub async fn sweep(&self) -> Result<u64> {
        let (mut dropped, mut after) = (0, Some(Cursor::START));
        while let Some(cursor) = after {
            let chunk = |reply| sweep::Chunk { after: cursor.clone(), done: Ok((0, None)), reply };
            let (n, next) = match self.writer().call(chunk).await {
                // The writer has since made room, if it could.
                Err(full) if full.kind() == ErrorKind::Full => self.writer().call(chunk).await?,
                done => done?,
            };
            dropped += n;
            after = next;
        }
        Ok(dropped)
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
            request.fingerprint = request.fingerprint.map(kept);
        }
        self.writer()
            .call(|reply| Batch {
                requests,
                decide: protocol::claim,
                droppable: true,
                answers: Ok(Vec::new()),
                reply,
            })
            .await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        if settlements.is_empty() {
            return Ok(Vec::new());
        }
        settlements.iter().try_for_each(|s| fits(&s.action))?;
        let requests = settlements.to_vec();
        self.writer()
            .call(|reply| Batch {
                requests,
                decide: protocol::settle,
                droppable: false,
                answers: Ok(Vec::new()),
                reply,
            })
            .await
    }

    fn describe(&self) -> Description {
        Description {
            name: format!("sqlite {}", self.inner.config.path.display()),
            weaknesses: self.inner.weaknesses.clone(),
        }
    }
}

fn fits(action: &Settle) -> Result<()> {
    let len = match action {
        Settle::Complete { outcome, .. } => outcome.as_ref().map_or(0, |o| o.len()),
        Settle::Bury { reason, .. } => reason.len(),
        Settle::Release { .. } | Settle::Extend { .. } | Settle::Redrive { .. } => 0,
    };
    match len {
        0..=MAX_VALUE_LEN => Ok(()),
        _ => Err(too_long(len)),
    }
}

pub(crate) fn too_long(len: usize) -> Error {
    Error::new(
        ErrorKind::Invalid,
        format!("sqlite: an outcome or reason of {len} bytes, at most {MAX_VALUE_LEN} are stored"),
    )
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore").field("config", &self.inner.config).finish_non_exhaustive()
    }
}
