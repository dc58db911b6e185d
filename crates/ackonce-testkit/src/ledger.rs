//! What really happened: a file that effects are appended to, independent of the store under test.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::Context;
use serde::{Deserialize, Serialize};

use crate::lines::Lines;

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The message ID.
    pub id: String,
    /// The idempotency key that the handler passed on.
    pub key: String,
    /// Which attempt it was.
    pub attempt: u32,
    /// The fence of its claim.
    pub fence: u64,
    /// The process it happened in.
    pub pid: u32,
    /// When, in microseconds since the Unix epoch.
    pub at: u64,
}

impl Entry {
    /// The effect of one step of the handler that runs in this process now.
    #[must_use]
    pub fn now(cx: &Context, step: &str) -> Self {
        Self {
            id: String::from_utf8_lossy(cx.key().id()).into_owned(),
            key: cx.idempotency_key(step),
            attempt: cx.attempt(),
            fence: cx.fence(),
            pid: std::process::id(),
            at: micros_now(),
        }
    }
}

/// The wall clock, in microseconds since the Unix epoch.
pub(crate) fn micros_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

/// A file of [`Entry`]s as JSON lines, appended to by any number of processes.
///
/// An entry is one `write(2)` with `O_APPEND`, so that entries of several processes do not mix and one whose
/// process is killed is there whole or not at all. Once `append` has returned, the entry outlives its process;
/// with [`synced`](Self::synced) also the machine.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    synced: bool,
}

impl Ledger {
    /// Opens or creates it. A line that an earlier failure left torn is ended first.
    ///
    /// # Errors
    /// The file cannot be opened, read or written.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(path)?;
        let mut last = [b'\n'];
        if let Some(end) = file.metadata()?.len().checked_sub(1) {
            file.read_exact_at(&mut last, end)?;
        }
        if last != [b'\n'] {
            (&file).write_all(b"\n")?;
        }
        Ok(Self { file, synced: false })
    }

    /// The same, with every entry on disk before `append` returns.
    #[must_use]
    pub fn synced(mut self) -> Self {
        self.synced = true;
        self
    }

    /// Adds an effect.
    ///
    /// # Errors
    /// It was not written, or only in part (a full disk); do not go on as if the effect had happened.
    pub fn append(&self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        // Not `write_all`: a second write could meet another process's entry in between.
        if (&self.file).write(&line)? != line.len() {
            return Err(io::Error::new(ErrorKind::WriteZero, "an entry of the ledger was torn"));
        }
        if self.synced { self.file.sync_data() } else { Ok(()) }
    }

    /// Everything in it, in the order it was appended. A file that is not there yet is empty.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Contents> {
        let mut reader = Reader::new(path);
        reader.catch_up()?;
        Ok(reader.into_contents())
    }
}

/// What was read from a [`Ledger`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The effects, in the order they were appended.
    pub entries: Vec<Entry>,
    /// Lines that are no entry: torn by a full disk or a power cut.
    pub torn: usize,
}

/// Follows a [`Ledger`] while others append to it, without reading anything twice.
#[derive(Debug)]
pub struct Reader(Lines<Entry>);

impl Reader {
    /// A reader at the beginning of the file, which need not be there yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(Lines::new(path.as_ref().to_path_buf()))
    }

    /// Reads what was appended since and returns everything so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn catch_up(&mut self) -> io::Result<&[Entry]> {
        self.0.catch_up()?;
        Ok(&self.0.items)
    }

    /// Everything so far; a line without its end counts as torn.
    #[must_use]
    pub fn into_contents(mut self) -> Contents {
        self.0.end();
        Contents { entries: self.0.items, torn: self.0.torn }
    }
}
