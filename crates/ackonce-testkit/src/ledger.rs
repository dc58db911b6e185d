//! The ledger: a file to which effects are appended, independent of the store under test.

use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ackonce::Context;
use serde::{Deserialize, Serialize};

use crate::lines::{Items, Writer};

/// One effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
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

impl LedgerEntry {
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

/// A file of [`LedgerEntry`]s as JSON [`lines`](crate::lines), appended to by any number of processes.
///
/// Entries of several processes do not mix, and one whose process is killed in the middle of it is not taken for
/// an effect. Once `append` has returned, the entry outlives its process; with [`synced`](Self::synced) also the
/// machine.
///
/// ```
/// use ackonce_testkit::ledger::{Ledger, LedgerEntry};
/// # let dir = std::env::temp_dir().join(format!("ackonce-ledger-{}", std::process::id()));
/// # std::fs::create_dir_all(&dir)?;
/// let path = dir.join("effects.jsonl");
/// let entry = LedgerEntry { id: "order-1".into(), key: "k".into(), attempt: 1, fence: 7, pid: 1, at: 0 };
/// Ledger::open(&path)?.append(&entry)?;
/// assert_eq!(Ledger::read(&path)?.entries, [entry]);
/// # std::fs::remove_dir_all(&dir)?;
/// # std::io::Result::Ok(())
/// ```
#[derive(Debug)]
pub struct Ledger {
    lines: Writer,
    synced: bool,
}

impl Ledger {
    /// Opens or creates it. A line that an earlier failure left torn is ended first.
    ///
    /// # Errors
    /// The file cannot be opened, read or written.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self { lines: Writer::open(path)?, synced: false })
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
    pub fn append(&self, entry: &LedgerEntry) -> io::Result<()> {
        self.lines.append(serde_json::to_vec(entry)?)?;
        if self.synced { self.lines.sync() } else { Ok(()) }
    }

    /// Everything in it, in the order it was appended. A file that is not there yet is empty.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: impl AsRef<Path>) -> io::Result<Contents> {
        let mut reader = LedgerReader::new(path);
        reader.catch_up()?;
        Ok(reader.into_contents())
    }
}

/// The entries read from a [`Ledger`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Contents {
    /// The effects, in the order they were appended.
    pub entries: Vec<LedgerEntry>,
    /// Lines that are no entry: torn by a kill, a full disk or a power cut.
    pub torn: usize,
}

/// Follows a [`Ledger`] while others append to it, without reading anything twice.
#[derive(Debug)]
pub struct LedgerReader(Items<LedgerEntry>);

impl LedgerReader {
    /// A reader at the beginning of the file, which need not be there yet.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self(Items::new(path))
    }

    /// Reads the entries appended since the last call and returns all entries so far.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn catch_up(&mut self) -> io::Result<&[LedgerEntry]> {
        self.0.catch_up()?;
        Ok(&self.0.items)
    }

    /// Everything so far; a line without its end counts as torn.
    #[must_use]
    pub fn into_contents(self) -> Contents {
        Contents { torn: self.0.torn(), entries: self.0.items }
    }
}
