//! Facts about a file, for programs that judge a set-up. Nothing is changed or created.

use std::fs;
use std::path::{Path, PathBuf};

use ackonce::{Error, ErrorKind, Result};
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use crate::check::{FileSystem, kind};
use crate::connection::disk::filesystem;
use crate::connection::path_with_suffix;
use crate::schema::VERSION;
use crate::{Fuse, SqliteConfig, Synchronous};

/// The facts that [`SqliteConfig::survey`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct SqliteSurvey {
    /// The file, with its links followed where it is there.
    pub path: PathBuf,
    /// The kind of its filesystem; `None` if its directory cannot be read, or is missing.
    pub filesystem: Option<FileSystem>,
    /// True if this user may create files in its directory.
    pub directory_writable: bool,
    /// True if the file is missing, or this user may write to it.
    pub file_writable: bool,
    /// True if every user of the host may write to it.
    pub world_writable: bool,
    /// The bytes of its disk, and the free ones among them.
    pub disk: Option<(u64, u64)>,
    /// The size of the file in bytes; `None` if it is missing.
    pub bytes: Option<u64>,
    /// The size of its log in bytes.
    pub log_bytes: u64,
    /// True if the reserve for a full disk is there.
    pub has_reserve: bool,
    /// Its inside, or the reason why it was not read; `None` if the file is missing.
    pub inside: Option<std::result::Result<FileState, String>>,
    /// [`SqliteConfig::with_synchronous`].
    pub synchronous: Synchronous,
    /// [`SqliteConfig::with_fuse`].
    pub fuse: Fuse,
    /// [`SqliteConfig::with_max_bytes`].
    pub max_bytes: Option<u64>,
    /// [`SqliteConfig::with_busy_timeout`].
    pub busy_timeout: std::time::Duration,
}

/// The inside of a file.
#[derive(Debug)]
#[non_exhaustive]
pub struct FileState {
    /// True if the file is in the journal mode WAL, as one that the store has opened; `None` if this process has it open.
    pub has_log: Option<bool>,
    /// The bytes of its used pages.
    pub used_bytes: u64,
    /// The version of the store's tables.
    pub tables: TablesState,
    /// The latest moment that a record or a table of records was made at, in microseconds since 1970; 0 without any.
    pub latest_us: i64,
    /// The first fault that `PRAGMA quick_check` found; `None` if there is none, or it was not run.
    pub damage: Option<String>,
}

/// The version of the store's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TablesState {
    /// There are none; the store creates them.
    Missing,
    /// The version that this code reads and writes.
    Known,
    /// A later one.
    Newer(i64),
    /// An earlier one, or no version at all.
    Unknown,
}

impl SqliteConfig {
    /// Looks at the file, its directory and its disk. With `deep` it also reads every page of the file (`PRAGMA
    /// quick_check`), which takes about a second per gigabyte on a fast disk, and the memory of the cache. It blocks: call
    /// it where that is allowed.
    ///
    /// # Errors
    /// [`Config`](ErrorKind::Config) if the path names no file.
    pub fn survey(&self, deep: bool) -> Result<SqliteSurvey> {
        let Some(name) = self.path.file_name().filter(|_| !self.path.is_dir()) else {
            let message = format!("sqlite: {} is not the path of a file", self.path.display());
            return Err(Error::new(ErrorKind::Config, message));
        };
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let path = self.path.canonicalize().unwrap_or_else(|_| directory.join(name));
        let directory = path.parent().unwrap_or(directory);
        let size = |path: &Path| fs::metadata(path).ok().map(|found| found.len());
        let bytes = size(&path);
        Ok(SqliteSurvey {
            filesystem: kind(directory).ok(),
            directory_writable: is_writable(directory),
            file_writable: bytes.is_none() || is_writable(&path),
            world_writable: is_world_writable(&path),
            disk: filesystem(&path).map(|found| (found.total, found.free)),
            bytes,
            log_bytes: size(&path_with_suffix(&path, "-wal")).unwrap_or(0),
            has_reserve: size(&path_with_suffix(&path, "-reserve")).is_some(),
            inside: bytes.map(|_| inside(&path, deep)),
            synchronous: self.synchronous,
            fuse: self.fuse,
            max_bytes: self.max_bytes,
            busy_timeout: self.busy_timeout,
            path,
        })
    }
}

/// Opens the file so that neither it nor its log changes, and no file is made beside it.
fn open(path: &Path) -> std::result::Result<Connection, String> {
    let [log, shared] = ["-wal", "-shm"].map(|ending| path_with_suffix(path, ending));
    let log_bytes = fs::metadata(&log).map_or(0, |found| found.len());
    let text = |e: rusqlite::Error| e.to_string();
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    if log_bytes == 0 && !shared.exists() {
        // Nobody has it open, and all that it says is in the file itself.
        let path = path.to_str().ok_or("its path is not UTF-8")?;
        let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
        let uri = format!("file:{escaped}?immutable=1");
        return Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI).map_err(text);
    }
    if !shared.exists() {
        return Err(format!(
            "{} is there without {}, which reading would create; let a store open the file once",
            log.display(),
            shared.display()
        ));
    }
    let conn = Connection::open_with_flags(path, flags).map_err(text)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(text)?;
    Ok(conn)
}

fn inside(path: &Path, deep: bool) -> std::result::Result<FileState, String> {
    let header = header(path);
    let conn = open(path)?;
    let text = |e: rusqlite::Error| e.to_string();
    conn.busy_timeout(std::time::Duration::from_secs(2)).map_err(text)?;
    let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(text);
    let used = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
    let tables = tables(&conn).map_err(text)?;
    let latest = match tables {
        TablesState::Known => number(
            "SELECT coalesce(max((SELECT coalesce(max(max(opened, last_fence)), 0) FROM ackonce_generations), \
             (SELECT coalesce(max(coalesce(claimed, fence)), 0) FROM ackonce_claims)), 0)",
        )?,
        _ => 0,
    };
    let check = || conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    let damage = match deep.then(check) {
        None => None,
        Some(Ok(answer)) => Some(answer).filter(|answer| answer != "ok"),
        Some(Err(error)) => Some(error.to_string()),
    };
    Ok(FileState {
        has_log: header.map(|version| version == 2),
        used_bytes: used.max(0).unsigned_abs() * number("PRAGMA page_size")?.max(0).unsigned_abs(),
        tables,
        latest_us: latest,
        damage,
    })
}

/// The read version in the file's header: 2 for a file with a write-ahead log. Not in a process that has the file open:
/// closing it here would release the locks of SQLite.
fn header(path: &Path) -> Option<u8> {
    use std::io::Read as _;
    if is_open_here(path) {
        return None;
    }
    let mut header = [0; 20];
    fs::File::open(path).and_then(|mut file| file.read_exact(&mut header)).ok()?;
    Some(header[19])
}

#[cfg(target_os = "linux")]
fn is_open_here(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let identity = |path: &Path| fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
    let Ok(open) = fs::read_dir("/proc/self/fd") else { return true };
    let this = identity(path);
    open.flatten().any(|file| identity(&file.path()) == this)
}

/// Elsewhere it cannot be told.
#[cfg(not(target_os = "linux"))]
fn is_open_here(_: &Path) -> bool {
    true
}

fn tables(conn: &Connection) -> rusqlite::Result<TablesState> {
    let there = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'ackonce_meta'";
    if conn.query_row(there, [], |_| Ok(())).optional()?.is_none() {
        return Ok(TablesState::Missing);
    }
    let version = "SELECT value FROM ackonce_meta WHERE name = 'schema'";
    let version = conn.query_row(version, [], |row| row.get::<_, i64>(0)).optional();
    Ok(match version {
        Ok(Some(VERSION)) => TablesState::Known,
        Ok(Some(newer)) if newer > VERSION => TablesState::Newer(newer),
        _ => TablesState::Unknown,
    })
}

#[cfg(unix)]
fn is_writable(path: &Path) -> bool {
    rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok()
}

#[cfg(not(unix))]
fn is_writable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| !found.permissions().readonly())
}

#[cfg(unix)]
fn is_world_writable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o002 != 0)
}

#[cfg(not(unix))]
fn is_world_writable(_: &Path) -> bool {
    false
}
