//! The tables. They may live in a database of the user's, so they claim neither its `user_version` nor its
//! `application_id`.

use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::error::rolled_back;

/// The version this code writes and reads.
const VERSION: i64 = 1;

/// What a sweep needs comes first, what may be long comes last: it then reads no overflow page.
const CREATE: &str = "
CREATE TABLE main.ackonce_meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE main.ackonce_records (
    key         BLOB NOT NULL PRIMARY KEY, -- SHA-256 of length-prefixed scope and message ID
    expires     INTEGER NOT NULL,          -- microseconds since 1970, as all moments
    state       INTEGER NOT NULL,          -- 0 done, 1 claimed, 2 released, 3 buried
    token       BLOB NOT NULL,             -- of the last claim
    fence       INTEGER NOT NULL,          -- of the last claim
    claimed     INTEGER NOT NULL,          -- when that was
    lease_ends  INTEGER NOT NULL,          -- 0 unless claimed
    attempt     INTEGER NOT NULL,
    previous    INTEGER NOT NULL,          -- 0 none, 1 released, 2 vanished
    fingerprint BLOB,                      -- of the payload
    scope       TEXT,
    id          BLOB,                      -- the message ID
    reason      TEXT,                      -- why it was buried
    outcome     BLOB,                      -- what the handler returned
    CHECK (length(key) = 32 AND length(token) = 16)
) STRICT, WITHOUT ROWID;
CREATE TABLE main.ackonce_audit (          -- what operators changed by hand; nothing reads or removes it
    at        INTEGER NOT NULL,
    operation TEXT NOT NULL,               -- forget, redrive
    key       BLOB NOT NULL,
    scope     TEXT,
    id        BLOB,
    actor     TEXT NOT NULL,
    reason    TEXT NOT NULL,
    before    TEXT NOT NULL                -- the record's state until then
) STRICT;
INSERT INTO main.ackonce_meta VALUES ('schema', 1);
";

/// Creates the store's tables in the main database of this connection unless they are there, in one
/// transaction; a crash leaves all of them or none. [`SqliteStore::open`](crate::SqliteStore::open) does
/// so by itself.
///
/// # Errors
/// [`NewerSchema`](ErrorKind::NewerSchema) if a newer version of this crate made them,
/// [`Corrupt`](ErrorKind::Corrupt) if they are not as any version made them, and what SQLite answers to a
/// write.
pub fn create_schema(conn: &Connection) -> Result<()> {
    if check(conn)? {
        return Ok(());
    }
    // IMMEDIATE, and look again: another process may be creating them now.
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)
        .map_err(|e| rolled_back("locking the file to create the tables", e))?;
    if check(&tx)? {
        return Ok(());
    }
    tx.execute_batch(CREATE).map_err(|e| rolled_back("creating the tables", e))?;
    tx.commit().map_err(|e| rolled_back("creating the tables", e))
}

/// Whether the tables are there, of a version this code knows.
pub(crate) fn check(conn: &Connection) -> Result<bool> {
    let exists = conn
        .prepare_cached("SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'ackonce_meta'")
        .and_then(|mut s| s.exists([]))
        .map_err(|e| rolled_back("reading the file", e))?;
    if !exists {
        return Ok(false);
    }
    let version: Option<i64> = conn
        .prepare_cached("SELECT value FROM main.ackonce_meta WHERE name = 'schema'")
        .and_then(|mut s| s.query_row([], |r| r.get(0)).optional())
        .map_err(|e| rolled_back("reading the schema version", e))?;
    match version {
        Some(VERSION) => Ok(true),
        Some(newer) if newer > VERSION => Err(Error::new(
            ErrorKind::NewerSchema,
            format!(
                "sqlite: the records were written by a newer version (schema {newer}, known is {VERSION}); \
                 upgrade ackonce-sqlite"
            ),
        )),
        other => Err(Error::new(
            ErrorKind::Corrupt,
            format!("sqlite: the table ackonce_meta names schema {other:?}, which no version wrote"),
        )),
    }
}

pub(crate) fn missing() -> Error {
    Error::new(
        ErrorKind::Config,
        "sqlite: the store's tables are missing; open a SqliteStore or call create_schema",
    )
}
