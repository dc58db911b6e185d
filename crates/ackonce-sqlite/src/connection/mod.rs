//! A connection to the file. Every setting is made and read back: it belongs to one connection, and SQLite ignores
//! settings that it does not know.

mod authorizer;
pub(crate) mod disk;
mod identity;
pub(crate) mod reader;

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{refused_right, rolled_back};
use crate::records::FileCache;
use crate::records::generations::FilterSource;
use crate::{SqliteConfig, Synchronous, schema};
pub(crate) use authorizer::{Authorizer, SAVEPOINT};
pub(crate) use identity::{ClosedFile, CurrentFile, FileIdentity, path_with_suffix};

/// The number of statements kept compiled: the store's own, a few per generation, and room for those of handlers.
const STATEMENTS: usize = 512;
/// The log is cut to this size when it starts over after a long reader let it grow.
const LOG_BYTES: i64 = 64 << 20;
/// SQLite's own limit on the number of pages in a file.
const MAX_PAGES: i64 = 0xffff_fffe;
/// SQLite counts milliseconds in 32 bits, and the driver panics beyond them.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 24 * 3600);
/// The pause between two attempts to get a lock. SQLite's own grows to 100 ms: beside a connection that writes without a
/// break, whose lock is free for a moment at a time, such a waiter gets it once in many seconds.
const LOCK_PAUSE: Duration = Duration::from_millis(1);

/// A connection and the rules installed on it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: Connection,
    pub(crate) authorizer: Authorizer,
    pub(crate) cache: RefCell<FileCache>,
    pub(crate) file: FileIdentity,
    /// False while the disk has no room for the file to grow.
    may_grow: Cell<bool>,
}

impl Session {
    /// Opens the first connection, which creates the file and the tables if they are missing.
    pub(crate) fn open(config: &SqliteConfig) -> Result<Self> {
        let created = Self::connect(config, OpenFlags::SQLITE_OPEN_CREATE)
            .and_then(|session| schema::create_schema(&session.conn).map(|()| session));
        created.map_err(|error| refused_right(&config.path, error))
    }

    /// Opens a later connection, which creates nothing: a deleted file must not become an empty one without records.
    pub(crate) fn reopen(config: &SqliteConfig) -> Result<Self> {
        let session = Self::connect(config, OpenFlags::empty())?;
        schema::check(&session.conn)?;
        Ok(session)
    }

    /// Opens a connection that only reads. It has the writer's settings, since the file may be unreadable without the
    /// user's own, but not the writer's rights.
    pub(crate) fn read_only(config: &SqliteConfig) -> Result<Self> {
        let session = Self { cache: FileCache::empty(FilterSource::InFile), ..Self::reopen(config)? };
        session.conn.pragma_update(None, "query_only", true).map_err(|e| rolled_back("opening", e))?;
        Ok(session)
    }

    /// Begins a transaction that holds the write lock.
    pub(crate) fn begin(&self, wait: Duration) -> rusqlite::Result<Transaction<'_>> {
        self.conn.busy_timeout(Duration::ZERO)?;
        let begun =
            wait_for_lock(wait, || Transaction::new_unchecked(&self.conn, TransactionBehavior::Immediate));
        self.conn.busy_timeout(wait.min(LONGEST_WAIT))?;
        begun
    }

    /// Lets the file grow up to the configured limit, or not at all: it then has only its free pages.
    pub(crate) fn allow_growth(&self, grow: bool, config: &SqliteConfig) -> Result<()> {
        if self.may_grow.get() == grow {
            return Ok(());
        }
        let max_bytes = if grow { config.max_bytes } else { Some(0) };
        limit_pages(&self.conn, max_bytes).map_err(|e| rolled_back("limiting the file", e))?;
        self.may_grow.set(grow);
        Ok(())
    }

    fn connect(config: &SqliteConfig, create: OpenFlags) -> Result<Self> {
        let path = config.path.display();
        let doing = format!("opening {path}");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let before = FileIdentity::at(&config.path);
        let mut conn =
            Connection::open_with_flags(&config.path, flags).map_err(|e| rolled_back(&doing, e))?;
        configure(&conn, config).map_err(|e| rolled_back(&doing, e))?;
        if conn.is_readonly("main").map_err(|e| rolled_back(&doing, e))? {
            let message =
                format!("sqlite: {path} is read-only for this user; change its permissions or its mount");
            return Err(Error::new(ErrorKind::ReadOnly, message));
        }
        configure_log(&conn, config, &doing)?;
        let file = FileIdentity::at(&config.path);
        if !before.may_equal(&file) {
            return Err(file.moved_error());
        }
        let authorizer = Authorizer::default();
        authorizer.install(&mut conn).map_err(|e| rolled_back(&doing, e))?;
        let cache = FileCache::empty(FilterSource::InMemory);
        Ok(Self { conn, authorizer, cache, file, may_grow: Cell::new(true) })
    }
}

fn configure(conn: &Connection, config: &SqliteConfig) -> rusqlite::Result<()> {
    let wait = config.busy_timeout.min(LONGEST_WAIT);
    conn.busy_timeout(wait)?;
    if let Some(setup) = &config.setup {
        setup(conn)?;
        conn.busy_timeout(wait)?;
    }
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "cache_size", -clamped(config.cache_bytes >> 10))?;
    // On macOS a flush without it ends in the disk's cache; on other systems it has no effect.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)
}

fn configure_log(conn: &Connection, config: &SqliteConfig, doing: &str) -> Result<()> {
    let mode = switch_to_wal(conn, config.busy_timeout).map_err(|e| rolled_back(doing, e))?;
    let level = match config.synchronous {
        Synchronous::Full => 2,
        Synchronous::Normal => 1,
    };
    let set = || -> rusqlite::Result<i64> {
        conn.pragma_update(None, "synchronous", level)?;
        conn.pragma_update(None, "wal_autocheckpoint", config.checkpoint_pages)?;
        conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
        limit_pages(conn, config.max_bytes)?;
        conn.pragma_query_value(None, "synchronous", |r| r.get(0))
    };
    let synchronous = set().map_err(|e| rolled_back(doing, e))?;
    if mode != "wal" || synchronous != level {
        let message = format!(
            "sqlite: {} stays at journal_mode={mode}, synchronous={synchronous}, not wal and {level}; \
             its filesystem may have no shared memory",
            config.path.display()
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    Ok(())
}

/// SQLite takes a limit below the file's size for that size.
fn limit_pages(conn: &Connection, max_bytes: Option<u64>) -> rusqlite::Result<()> {
    let pages = match max_bytes {
        Some(bytes) => {
            let page: i64 = conn.pragma_query_value(None, "page_size", |r| r.get(0))?;
            (clamped(bytes) / page.max(1)).max(1)
        }
        None => MAX_PAGES,
    };
    conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

/// SQLite does not wait for a lock while it switches a file to its log, lest two connections wait for each other.
/// Without this loop, workers that start at once on a new file would find it busy.
fn switch_to_wal(conn: &Connection, wait: Duration) -> rusqlite::Result<String> {
    wait_for_lock(wait, || conn.pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get(0)))
}

/// Tries again until the lock of another connection is gone, which SQLite reports to nobody.
fn wait_for_lock<T>(wait: Duration, mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
    let start = Instant::now();
    loop {
        match attempt() {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < wait => {
                std::thread::sleep(LOCK_PAUSE);
            }
            done => return done,
        }
    }
}

fn clamped(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
