//! Opening of a connection. Every setting is made and read back: it belongs to one connection, and SQLite ignores
//! settings that it does not know.

use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use crate::authorize::Handling;
use crate::error::rolled_back;
use crate::generations::Filters;
use crate::identity::Opened;
use crate::records::Known;
use crate::{SqliteConfig, Synchronous, schema};

/// The number of statements kept compiled: the store's own, a few per generation, and room for those of handlers.
const STATEMENTS: usize = 512;
/// The log is cut to this size when it starts over after a long reader let it grow.
const LOG_BYTES: i64 = 64 << 20;
/// SQLite's own limit on the number of pages in a file.
const MOST_PAGES: i64 = 0xffff_fffe;
/// The pause between attempts to switch a file to the log; another connection does that in a few milliseconds.
const SWITCHING: Duration = Duration::from_millis(2);

/// A connection and the rules installed on it.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) conn: Connection,
    pub(crate) handling: Handling,
    pub(crate) known: RefCell<Known>,
    pub(crate) opened: Opened,
    /// False while the disk has no room for the file to grow.
    grows: Cell<bool>,
}

impl Session {
    /// Opens the first connection, which creates the file and the tables if they are missing.
    pub(crate) fn open(config: &SqliteConfig) -> Result<Self> {
        let session = Self::connect(config, OpenFlags::SQLITE_OPEN_CREATE)?;
        schema::create_schema(&session.conn)?;
        Ok(session)
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
        let session = Self { known: Known::nothing(Filters::InFile), ..Self::reopen(config)? };
        session.conn.pragma_update(None, "query_only", true).map_err(|e| rolled_back("opening", e))?;
        Ok(session)
    }

    /// Lets the file grow up to the configured limit, or not at all: it then has only its free pages.
    pub(crate) fn let_grow(&self, grow: bool, config: &SqliteConfig) -> Result<()> {
        if self.grows.get() == grow {
            return Ok(());
        }
        let most = if grow { config.max_bytes } else { Some(0) };
        limit(&self.conn, most).map_err(|e| rolled_back("limiting the file", e))?;
        self.grows.set(grow);
        Ok(())
    }

    fn connect(config: &SqliteConfig, create: OpenFlags) -> Result<Self> {
        let path = config.path.display();
        let doing = format!("opening {path}");
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | create;
        let before = Opened::at(&config.path);
        let mut conn =
            Connection::open_with_flags(&config.path, flags).map_err(|e| rolled_back(&doing, e))?;
        prepare(&conn, config).map_err(|e| rolled_back(&doing, e))?;
        if conn.is_readonly("main").map_err(|e| rolled_back(&doing, e))? {
            let message =
                format!("sqlite: {path} is read-only for this user; change its permissions or its mount");
            return Err(Error::new(ErrorKind::ReadOnly, message));
        }
        journal(&conn, config, &doing)?;
        let opened = Opened::at(&config.path);
        if !before.may_be(&opened) {
            return Err(opened.moved());
        }
        let handling = Handling::default();
        handling.install(&mut conn).map_err(|e| rolled_back(&doing, e))?;
        Ok(Self { conn, handling, known: Known::nothing(Filters::InMemory), opened, grows: Cell::new(true) })
    }
}

fn prepare(conn: &Connection, config: &SqliteConfig) -> rusqlite::Result<()> {
    conn.busy_timeout(config.busy_timeout)?;
    if let Some(setup) = &config.setup {
        setup(conn)?;
        conn.busy_timeout(config.busy_timeout)?;
    }
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    conn.pragma_update(None, "cache_size", -clamped(config.cache_bytes >> 10))?;
    // On macOS a flush without it ends in the disk's cache; on other systems it has no effect.
    conn.pragma_update(None, "fullfsync", true)?;
    conn.pragma_update(None, "checkpoint_fullfsync", true)
}

fn journal(conn: &Connection, config: &SqliteConfig, doing: &str) -> Result<()> {
    let mode = write_ahead(conn, config.busy_timeout).map_err(|e| rolled_back(doing, e))?;
    let level = match config.synchronous {
        Synchronous::Full => 2,
        Synchronous::Normal => 1,
    };
    let set = || -> rusqlite::Result<i64> {
        conn.pragma_update(None, "synchronous", level)?;
        conn.pragma_update(None, "wal_autocheckpoint", config.checkpoint_pages)?;
        conn.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES, |_| Ok(()))?;
        limit(conn, config.max_bytes)?;
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
fn limit(conn: &Connection, most: Option<u64>) -> rusqlite::Result<()> {
    let pages = match most {
        Some(bytes) => {
            let page: i64 = conn.pragma_query_value(None, "page_size", |r| r.get(0))?;
            (clamped(bytes) / page.max(1)).max(1)
        }
        None => MOST_PAGES,
    };
    conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

/// SQLite does not wait for a lock while it switches a file to its log, lest two connections wait for each other.
/// Without this loop, workers that start at once on a new file would find it busy.
fn write_ahead(conn: &Connection, wait: Duration) -> rusqlite::Result<String> {
    let start = Instant::now();
    loop {
        match conn.pragma_update_and_check(None, "journal_mode", "WAL", |r| r.get(0)) {
            Err(e) if e.sqlite_error_code() == Some(ErrorCode::DatabaseBusy) && start.elapsed() < wait => {
                std::thread::sleep(SWITCHING);
            }
            switched => return switched,
        }
    }
}

fn clamped(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
