//! The space on the disk, and the reserve that a full disk makes necessary.
//!
//! Expired records leave free pages inside the file, but a write that frees them takes room beside it. Each change
//! goes to the log first, and the log starts over only after a checkpoint, which makes the file as long as the log
//! says. On a disk without a free byte neither is possible, and no sweep would ever succeed again. So the store keeps
//! a reserve: a file that it deletes when the disk is full. While there is no room for the reserve, the file does not
//! grow, and records take the pages that sweeping frees.

use std::fs::{self, File};
use std::io::{self, ErrorKind as Io, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};
use rusqlite::Connection;

use super::identity::path_with_suffix;
use crate::clock::is_due;
use crate::error::rolled_back;

/// The maximum size of the reserve in bytes: room for dropping a generation of the default size, which writes some
/// 540 pages, and for the growth of the file that a log of the default size causes.
const RESERVE: u64 = 4 << 20;
/// The reserve takes at most this part of a small disk.
const RESERVE_PART: u64 = 8;
/// The pause between attempts to make the reserve again, and between checkpoints for a file that has grown.
const PAUSE: Duration = Duration::from_millis(500);

/// The space on the disk for the file of one writer.
#[derive(Debug)]
pub(crate) struct DiskSpace {
    file: PathBuf,
    reserve: PathBuf,
    size: u64,
    may_grow: bool,
    /// The time of the last attempt to create the reserve.
    tried: Option<Instant>,
    checkpointed: Option<Instant>,
}

impl DiskSpace {
    /// The space for the file at this path. The file may be missing; its directory must exist.
    pub(crate) fn of(file: &Path) -> Self {
        let disk = filesystem(file).map_or(u64::MAX, |found| found.total);
        Self {
            file: file.to_owned(),
            reserve: path_with_suffix(file, "-reserve"),
            size: (disk / RESERVE_PART).clamp(1, RESERVE),
            may_grow: true,
            tried: None,
            checkpointed: None,
        }
    }

    /// Opens the file; if the disk is full, deletes the reserve and tries once more.
    pub(crate) fn open<T>(&mut self, open: impl Fn() -> Result<T>) -> Result<T> {
        open().or_else(|error| if self.release_reserve() { open() } else { Err(error) })
    }

    /// False while the disk has no room for the file to grow. Creates the reserve if it is missing.
    pub(crate) fn may_grow(&mut self) -> bool {
        if fs::metadata(&self.reserve).is_ok_and(|found| found.len() >= self.size) {
            self.may_grow = true;
        } else if is_due(&mut self.tried, PAUSE) {
            self.may_grow = match self.create_reserve() {
                Ok(()) => true,
                Err(error) if is_full(&error) => {
                    let _ = fs::remove_file(&self.reserve);
                    if self.may_grow {
                        let file = self.file.display();
                        tracing::warn!(target: "ackonce", %file, "the disk is full; the file does not grow before it has room");
                    }
                    false
                }
                // Without the right to create the file, the store works without a reserve.
                Err(error) => {
                    tracing::debug!(target: "ackonce", %error, reserve = %self.reserve.display(), "no reserve");
                    true
                }
            };
        }
        self.may_grow
    }

    fn create_reserve(&self) -> io::Result<()> {
        if self.free() < self.size.saturating_mul(2) {
            return Err(Io::StorageFull.into());
        }
        allocate(&mut File::create(&self.reserve)?, self.size)
    }

    /// Deletes the reserve if the disk itself is full; true if it did.
    pub(crate) fn release_reserve(&mut self) -> bool {
        let released = self.free() < self.size && fs::remove_file(&self.reserve).is_ok();
        if released {
            (self.tried, self.may_grow) = (Some(Instant::now()), false);
            let file = self.file.display();
            tracing::warn!(target: "ackonce", %file, "the disk is full; the file's reserve is deleted to make room");
        }
        released
    }

    /// Checks the room for a commit. True if a checkpoint is due after it, because the log makes the file grow by at
    /// least half the reserve.
    ///
    /// # Errors
    /// The disk has no room for that growth: the log could then never start over.
    pub(crate) fn check_growth(&mut self, conn: &Connection) -> Result<bool> {
        let pages: u64 = pragma(conn, "PRAGMA page_count")?;
        let length = fs::metadata(&self.file).map_or(0, |found| found.len());
        let growth = pages.saturating_mul(pragma(conn, "PRAGMA page_size")?).saturating_sub(length);
        if growth <= self.size / 2 {
            return Ok(false);
        }
        // The change goes into the log first.
        if growth.saturating_mul(2) > self.free().saturating_add(self.size) {
            let message =
                format!("sqlite: the disk has no room for {} to grow; free disk space", self.file.display());
            return Err(Error::new(ErrorKind::Full, message).with_repeat(Repeat::Safe));
        }
        Ok(is_due(&mut self.checkpointed, PAUSE))
    }

    fn free(&self) -> u64 {
        filesystem(&self.file).map_or(u64::MAX, |found| found.free)
    }
}

/// Runs a checkpoint, as far as no reader is in the way; the next change then starts the log over.
pub(crate) fn checkpoint(conn: &Connection) {
    let done =
        conn.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)").and_then(|mut s| s.query_row([], |_| Ok(())));
    if let Err(error) = done {
        tracing::debug!(target: "ackonce", error = %ackonce::chain(&error), "the checkpoint failed");
    }
}

fn pragma(conn: &Connection, sql: &str) -> Result<u64> {
    let read = conn.prepare_cached(sql).and_then(|mut s| s.query_row([], |r| r.get::<_, i64>(0)));
    read.map(i64::unsigned_abs).map_err(|e| rolled_back("reading the file's size", e))
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), Io::StorageFull | Io::QuotaExceeded)
}

/// The space of a filesystem that reports it.
pub(crate) struct Filesystem {
    pub(crate) total: u64,
    pub(crate) free: u64,
}

#[cfg(unix)]
pub(crate) fn filesystem(file: &Path) -> Option<Filesystem> {
    let found = rustix::fs::statvfs(file.parent()?).ok()?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    // Some blocks are reserved for root.
    let free = if rustix::process::geteuid().is_root() { found.f_bfree } else { found.f_bavail };
    (found.f_blocks > 0).then(|| Filesystem { total: bytes(found.f_blocks), free: bytes(free) })
}

#[cfg(not(unix))]
pub(crate) fn filesystem(_: &Path) -> Option<Filesystem> {
    None
}

/// Allocates the blocks: written zeros alone would take no room on a filesystem that compresses.
fn allocate(file: &mut File, size: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&*file, rustix::fs::FallocateFlags::empty(), 0, size) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {}
            done => return done.map_err(io::Error::from),
        }
    }
    io::copy(&mut io::Read::take(io::repeat(0), size), file)?;
    file.flush()
}
