//! The settings with which a store is opened.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackonce::store::{Names, Sweep};
use rusqlite::Connection;

use crate::clock::Clock;
use crate::records::RecordSettings;

/// The approximate number of records in a generation. Smaller generations are written with less effort, but there are
/// more tables; FORMAT.md has the measurements.
pub(crate) const GENERATION_SIZE: u32 = 1 << 17;

/// A function that runs on each new connection before the store's own settings are made.
pub(crate) type Setup = Arc<dyn Fn(&Connection) -> rusqlite::Result<()> + Send + Sync>;

/// The moment at which a commit counts as done. The setting is read back on every connection.
///
/// Keep [`Full`](Self::Full) where a lost or doubled effect costs money. [`Normal`](Self::Normal) saves the flush of
/// each group of commits, most of the time of a claim that arrives alone; it is for messages whose repetition does no
/// harm.
///
/// ```
/// use ackonce::Deduplicator;
/// use ackonce_sqlite::{SqliteConfig, Synchronous};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("dedup.db");
/// let store = SqliteConfig::new(path).with_synchronous(Synchronous::Normal).open()?;
/// assert!(store.describe().weaknesses.iter().any(|weakness| weakness.contains("synchronous=NORMAL")));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Synchronous {
    /// Each commit is flushed to the disk before it is answered: it survives a power cut.
    #[default]
    Full,
    /// Commits are flushed at the next checkpoint. A killed process loses nothing, a power cut or a crashed
    /// kernel loses the latest commits, whose messages were acknowledged: **lost or doubled**. Listed as a
    /// weakness by [`describe`](ackonce::Deduplicator::describe).
    Normal,
}

/// The treatment of a FUSE filesystem. SQLite cannot check that locks and flushes work there.
///
/// Allow one only if its documentation promises POSIX locks, shared memory maps and an `fsync` that reaches the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fuse {
    /// The store does not open.
    #[default]
    Refuse,
    /// The store opens and lists a weakness.
    Allow,
}

/// The settings of a store; [`SqliteStore::open`](crate::SqliteStore::open) takes all defaults.
///
/// The defaults are for payments: each commit is flushed, and a file that cannot keep the promise is refused. Settings
/// worth a thought are the limit of the file's size, the time-out where several processes share the file, and the
/// names if message IDs are personal data.
///
/// ```
/// use std::time::Duration;
/// use ackonce_sqlite::{Names, SqliteConfig};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("dedup.db");
/// let store = SqliteConfig::new(path)
///     .with_busy_timeout(Duration::from_secs(2))
///     .with_max_bytes(4 << 30)
///     .with_names(Names::Omit)
///     .open()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct SqliteConfig {
    pub(crate) path: PathBuf,
    pub(crate) synchronous: Synchronous,
    pub(crate) busy_timeout: Duration,
    pub(crate) cache_bytes: u64,
    pub(crate) checkpoint_pages: u32,
    pub(crate) max_bytes: Option<u64>,
    pub(crate) sweep: Sweep,
    pub(crate) names: Names,
    pub(crate) fuse: Fuse,
    pub(crate) setup: Option<Setup>,
    pub(crate) generation_size: u32,
    pub(crate) clock: Clock,
}

impl SqliteConfig {
    /// The defaults for the file at `path`, which is created if it is missing (its directory is not).
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            synchronous: Synchronous::Full,
            busy_timeout: Duration::from_secs(5),
            cache_bytes: 16 << 20,
            checkpoint_pages: 4000,
            max_bytes: None,
            sweep: Sweep::Automatic,
            names: Names::Buried,
            fuse: Fuse::Refuse,
            setup: None,
            generation_size: GENERATION_SIZE,
            clock: Clock::default(),
        }
    }

    /// The moment at which a commit counts as done (default [`Synchronous::Full`]).
    #[must_use]
    pub fn with_synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// The time to wait for another process that writes to the file before answering
    /// [`Unavailable`](ackonce::ErrorKind::Unavailable) (default 5 s).
    ///
    /// SQLite does not queue writers. The store asks for the lock each millisecond, so it gets it in time beside any other
    /// store; SQLite's own waiter asks ten times a second, and may starve beside a busy one: write with
    /// [`SqliteStore::write`](crate::SqliteStore::write) where you can. Keep this time well below the lease, since
    /// heartbeats wait here too.
    #[must_use]
    pub fn with_busy_timeout(mut self, wait: Duration) -> Self {
        self.busy_timeout = wait;
        self
    }

    /// The page cache in bytes (default 16 MiB, which holds recent writes and the upper pages of 10 million records).
    ///
    /// A larger cache keeps older duplicates in memory but slows each commit that splits a page: SQLite then goes
    /// through the whole table of the cache, 0.7 ms at 64 MiB.
    #[must_use]
    pub fn with_cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// The number of pages in the write-ahead log at which a checkpoint copies them into the file (default 4000,
    /// about 16 MB; SQLite's own default is 1000).
    ///
    /// Random keys touch a page each: a longer log writes hot pages to
    /// the file less often, a shorter one shortens the pause of the commit that runs the checkpoint.
    #[must_use]
    pub fn with_checkpoint_pages(mut self, pages: u32) -> Self {
        self.checkpoint_pages = pages;
        self
    }

    /// The maximum size of the file in bytes (default: no limit but the disk's; the log comes on top). A full store
    /// answers [`Full`](ackonce::ErrorKind::Full), acknowledges nothing, and makes room by sweeping.
    ///
    /// Choose it from the messages of one window: about 45 bytes each, 120 with an outcome or kept names, plus their
    /// length. A file that is too small stops the consumer until records expire.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// The owner of the sweep (default [`Sweep::Automatic`]).
    ///
    /// A store with [`Sweep::Manual`] grows until the application calls
    /// [`SqliteStore::sweep`](crate::SqliteStore::sweep); that is for programs that sweep at a quiet hour.
    #[must_use]
    pub fn with_sweep(mut self, sweep: Sweep) -> Self {
        self.sweep = sweep;
        self
    }

    /// The messages whose scope and ID stay readable (default [`Names::Buried`]: claimed, released and buried ones).
    ///
    /// With [`Names::Omit`] neither the records nor the audit rows of this store have them, so an operator must know a
    /// message's ID to look it up.
    #[must_use]
    pub fn with_names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// The treatment of a FUSE filesystem (default [`Fuse::Refuse`]). Network and cluster filesystems are always
    /// refused.
    #[must_use]
    pub fn with_fuse(mut self, fuse: Fuse) -> Self {
        self.fuse = fuse;
        self
    }

    /// A function that prepares a connection for inbox handlers: SQL functions, collations, pragmas. It runs on each
    /// new connection before the store's own settings, so it cannot undo them.
    ///
    /// ```
    /// use ackonce_sqlite::SqliteConfig;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("app.db");
    /// let store = SqliteConfig::new(path).with_setup(|conn| conn.execute_batch("PRAGMA foreign_keys = ON")).open()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn with_setup<F>(mut self, setup: F) -> Self
    where
        F: Fn(&Connection) -> rusqlite::Result<()> + Send + Sync + 'static,
    {
        self.setup = Some(Arc::new(setup));
        self
    }

    /// The approximate number of settled records in a generation, the table that is filled, sealed and dropped whole
    /// (default 131072, at least 128).
    ///
    /// Smaller generations are written faster, but lookups go through more tables. The default suits files of a
    /// thousand to a hundred million records.
    #[must_use]
    pub fn with_generation(mut self, records: u32) -> Self {
        self.generation_size = records.max(128);
        self
    }

    /// A clock in place of the system's, for tests that let a lease or a window pass. All processes that open the
    /// file must use the same one.
    #[must_use]
    pub fn with_clock(mut self, now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        self.clock = Clock::new(now);
        self
    }

    pub(crate) fn record_settings(&self) -> RecordSettings {
        RecordSettings { names: self.names, generation_size: self.generation_size }
    }
}

impl fmt::Debug for SqliteConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteConfig")
            .field("path", &self.path)
            .field("synchronous", &self.synchronous)
            .field("busy_timeout", &self.busy_timeout)
            .field("max_bytes", &self.max_bytes)
            .field("sweep", &self.sweep)
            .field("names", &self.names)
            .finish_non_exhaustive()
    }
}
