//! The identity of an open file, so that another one in its place is noticed.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Result};

/// Device and inode: they stay the same when a file is moved, as long as a process has it open.
type DeviceAndInode = (u64, u64);

/// The file behind a connection.
#[derive(Debug, Clone)]
pub(crate) struct FileIdentity {
    path: PathBuf,
    file: Option<DeviceAndInode>,
}

impl FileIdentity {
    /// The identity of the file that is at `path` now.
    pub(crate) fn at(path: &Path) -> Self {
        Self { path: path.to_owned(), file: identity(path) }
    }

    /// True if this, seen before a connection was opened, may be the file seen after: the same one, or none.
    pub(crate) fn may_equal(&self, after: &Self) -> bool {
        self.file.is_none() || self.file == after.file
    }

    /// True if the file is no longer the one at its path: it was deleted, moved or replaced. No other process then
    /// sees changes to it.
    pub(crate) fn has_moved(&self) -> bool {
        identity(&self.path) != self.file
    }

    /// Fails if the file has moved.
    pub(crate) fn check(&self) -> Result<()> {
        if self.has_moved() { Err(self.moved_error()) } else { Ok(()) }
    }

    /// The error for a moved file: the file now at its path was not changed.
    pub(crate) fn moved_error(&self) -> Error {
        let message = format!("sqlite: {} was moved, deleted or replaced", self.path.display());
        Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe)
    }

    /// The identity of a file whose connection is about to be closed.
    pub(crate) fn close(self) -> ClosedFile {
        ClosedFile { log: log_header(&self.path), file: self }
    }
}

/// The file that the writer has open. The reader opens a connection of its own for each inspection, and would apply
/// the log of this file to another file in its place.
pub(crate) type CurrentFile = Arc<Mutex<FileIdentity>>;

/// The file behind a connection that was closed.
#[derive(Debug)]
pub(crate) struct ClosedFile {
    file: FileIdentity,
    /// The beginning of its log, which contains random numbers.
    log: Option<[u8; 32]>,
}

impl ClosedFile {
    /// Fails if another file has taken its place while its log still lies there: SQLite would take that log for the
    /// other file's, and write pages of this one into it.
    pub(crate) fn check_successor(&self) -> Result<()> {
        let path = &self.file.path;
        if self.log.is_none() || !self.file.has_moved() || log_header(path) != self.log {
            return Ok(());
        }
        let shown = path.display();
        let message = format!(
            "sqlite: {shown} was moved, deleted or replaced, and {shown}-wal is still that of the file before; move that \
             file back, or stop every process that has it open and remove {shown}-wal and {shown}-shm"
        );
        Err(Error::new(ErrorKind::Unavailable, message).with_repeat(Repeat::Safe))
    }
}

/// The header of the log; `None` if the log is missing or empty. SQLite holds no lock on that file, so closing it
/// here releases none.
fn log_header(path: &Path) -> Option<[u8; 32]> {
    let mut header = [0; 32];
    File::open(path_with_suffix(path, "-wal"))
        .and_then(|mut log| log.read_exact(&mut header))
        .ok()
        .map(|()| header)
}

/// The path with that ending added.
pub(crate) fn path_with_suffix(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(unix)]
fn identity(path: &Path) -> Option<DeviceAndInode> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).ok().map(|found| (found.dev(), found.ino()))
}

/// On other systems an open file can be neither moved nor replaced.
#[cfg(not(unix))]
fn identity(_: &Path) -> Option<DeviceAndInode> {
    None
}
