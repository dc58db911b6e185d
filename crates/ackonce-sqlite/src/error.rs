//! The mapping of SQLite's result codes to [`Error`].

use std::path::Path;

use ackonce::store::Repeat;
use ackonce::{Error, ErrorKind, Key};
use rusqlite::ErrorCode as C;
use rustix::fs::Access;

/// The error of a statement inside a transaction that is rolled back: nothing was applied.
#[must_use]
pub fn rolled_back(doing: &str, error: rusqlite::Error) -> Error {
    let error = describe(doing, error);
    match error.repeat() {
        Repeat::Unknown => error.with_repeat(Repeat::Safe),
        _ => error,
    }
}

/// The error of a COMMIT. A lock or a full disk stops it before the commit record is complete; after any other
/// failure the record may be in the log, and the next recovery may find it.
pub(crate) fn commit(error: rusqlite::Error) -> Error {
    let safe =
        matches!(error.sqlite_error_code(), Some(C::DatabaseBusy | C::DiskFull | C::ConstraintViolation));
    describe("committing", error).with_repeat(if safe { Repeat::Safe } else { Repeat::Unknown })
}

fn describe(doing: &str, error: rusqlite::Error) -> Error {
    use ErrorKind as K;
    if let rusqlite::Error::FromSqlConversionFailure(..)
    | rusqlite::Error::InvalidColumnType(..)
    | rusqlite::Error::IntegralValueOutOfRange(..) = error
    {
        let message = format!("sqlite: {doing}: a column is not as any version wrote it");
        return Error::new(K::Corrupt, message).with_source(error);
    }
    let error = without_statement(error);
    let (kind, advice) = match error.sqlite_error_code() {
        // The index of the log is a file as well.
        Some(C::SystemIoFailure) if extended(&error) == Some(rusqlite::ffi::SQLITE_IOERR_SHMSIZE) => {
            (K::Full, "no room for the file's -shm; free disk space")
        }
        Some(C::DatabaseBusy | C::DatabaseLocked) => (
            K::Unavailable,
            "another connection holds the file's write lock (with_busy_timeout, in a URL busy_timeout_ms)",
        ),
        Some(C::DiskFull) => {
            (K::Full, "no room; free disk space or raise the limit (with_max_bytes, in a URL max_bytes)")
        }
        Some(C::ReadOnly) => (K::ReadOnly, "the file or its filesystem is read-only"),
        Some(C::DatabaseCorrupt | C::NotADatabase) => {
            (K::Corrupt, "the file is damaged; restore it, or move it away to start with no records")
        }
        Some(C::TooBig) => (K::Invalid, "a value is over SQLite's limit"),
        Some(C::SystemIoFailure) => (K::Unavailable, "the disk failed"),
        Some(C::CannotOpen | C::PermissionDenied) => (
            K::Unavailable,
            "the file or its -wal or -shm cannot be opened; check permissions and disk space",
        ),
        Some(C::Unknown) => (K::Config, "the store's tables are not as it made them"),
        Some(C::ConstraintViolation) => (K::Protocol, "a constraint was violated"),
        _ => (K::Unavailable, "SQLite cannot answer"),
    };
    Error::new(kind, format!("sqlite: {doing}: {advice}")).with_source(error)
}

fn extended(error: &rusqlite::Error) -> Option<i32> {
    error.sqlite_error().map(|code| code.extended_code)
}

/// The error without the text of the statement, which is long and belongs to the store.
fn without_statement(error: rusqlite::Error) -> rusqlite::Error {
    match error {
        rusqlite::Error::SqlInputError { error, msg, .. } => rusqlite::Error::SqliteFailure(error, Some(msg)),
        other => other,
    }
}

/// The error of a first opening: a right that this user lacks is not waited for, unlike a file that is away for a moment.
pub(crate) fn refused_right(path: &Path, error: Error) -> Error {
    let is_refusal = error.kind() == ErrorKind::ReadOnly || sqlite_code(&error) == Some(C::CannotOpen);
    let may_write = |path: &Path| rustix::fs::access(path, Access::WRITE_OK).is_ok();
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    let may_write_both =
        may_write(directory.unwrap_or(Path::new("."))) && (!path.exists() || may_write(path));
    if !is_refusal || may_write_both {
        return error;
    }
    let path = path.display();
    let message = format!(
        "sqlite: this user may not write {path} or its directory, or the filesystem is read-only; change their permissions or \
         the mount"
    );
    Error::new(ErrorKind::ReadOnly, message).with_repeat(Repeat::Never).with_source(error)
}

/// The error for a row that this version cannot have written.
pub(crate) fn corrupt_row(what: &str, value: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("sqlite: a record's {what} is {value}, which is not possible"))
}

/// True if the error is the damage of one row, in which SQLite itself sees none.
pub(crate) fn is_of_row(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt && sqlite_code(error).is_none()
}

/// The error of a request about a damaged row: it is about that request alone, so that the core carries out the others.
pub(crate) fn unreadable(key: &Key, record_key: &[u8], error: Error) -> Error {
    let hex = ackonce::adapter::hex(record_key);
    let message =
        format!("sqlite: the record of {key:?} cannot be read; delete its row, whose key is x'{hex}'");
    Error::new(ErrorKind::Invalid, message).with_source(error)
}

/// True if the connection must not be used again. Lock conflicts and a full disk pass. After a failed flush or read
/// the content of the caches is unknown, and a second flush would report success without having written.
pub(crate) fn breaks_connection(error: &Error) -> bool {
    match sqlite_code(error) {
        Some(C::DatabaseBusy | C::DatabaseLocked | C::DiskFull | C::TooBig | C::ConstraintViolation) => false,
        Some(_) => true,
        None => false,
    }
}

/// True if the failure comes from the disk or the file, so that the handler is not to blame.
pub(crate) fn is_environment(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(
            C::DatabaseBusy
                | C::DiskFull
                | C::ReadOnly
                | C::DatabaseCorrupt
                | C::NotADatabase
                | C::SystemIoFailure
                | C::OutOfMemory
                | C::CannotOpen
        )
    )
}

fn sqlite_code(error: &Error) -> Option<C> {
    error.find::<rusqlite::Error>()?.sqlite_error_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(code: i32) -> rusqlite::Error {
        rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None)
    }

    #[test]
    fn what_is_known_to_be_undone_may_be_sent_again() {
        use rusqlite::ffi;
        let kinds = [
            (ffi::SQLITE_BUSY_SNAPSHOT, ErrorKind::Unavailable, Repeat::Safe, Repeat::Safe),
            (ffi::SQLITE_FULL, ErrorKind::Full, Repeat::Safe, Repeat::Safe),
            (ffi::SQLITE_IOERR_SHMSIZE, ErrorKind::Full, Repeat::Safe, Repeat::Unknown),
            (ffi::SQLITE_IOERR_FSYNC, ErrorKind::Unavailable, Repeat::Safe, Repeat::Unknown),
            (ffi::SQLITE_READONLY_DBMOVED, ErrorKind::ReadOnly, Repeat::Safe, Repeat::Unknown),
            (ffi::SQLITE_CORRUPT_INDEX, ErrorKind::Corrupt, Repeat::Never, Repeat::Unknown),
            (ffi::SQLITE_NOTADB, ErrorKind::Corrupt, Repeat::Never, Repeat::Unknown),
            (ffi::SQLITE_TOOBIG, ErrorKind::Invalid, Repeat::Never, Repeat::Unknown),
        ];
        for (code, kind, before, at_commit) in kinds {
            let error = rolled_back("test", failure(code));
            assert_eq!((error.kind(), error.repeat()), (kind, before), "{error}");
            assert_eq!(commit(failure(code)).repeat(), at_commit, "{error}");
        }
    }

    #[test]
    fn a_failed_flush_ends_the_connection_and_a_lock_does_not() {
        use rusqlite::ffi;
        assert!(breaks_connection(&commit(failure(ffi::SQLITE_IOERR_FSYNC))));
        assert!(!breaks_connection(&commit(failure(ffi::SQLITE_BUSY))));
        assert!(!breaks_connection(&corrupt_row("state", 9)));
    }
}
