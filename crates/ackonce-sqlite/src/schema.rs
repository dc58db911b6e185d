//! The tables. They may live in a database of the user's, so they claim neither its `user_version` nor its
//! `application_id`.

use ackonce::store::Token;
use ackonce::{Error, ErrorKind, Result};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use crate::error::rolled_back;

/// The version this code writes and reads.
pub(crate) const VERSION: i64 = 4;

/// The random value in `ackonce_meta` that each transaction reads.
pub(crate) type Incarnation = [u8; 16];

/// The columns that a sweep reads come first and those that may be long come last: a sweep then reads no overflow
/// page.
macro_rules! full_columns {
    () => {
        "(
    key         BLOB NOT NULL PRIMARY KEY, -- a hash over the key's digest and the file's secret
    expires     INTEGER NOT NULL,          -- microseconds since 1970, like all moments
    fence       INTEGER NOT NULL,          -- of the last claim
    claimed     INTEGER,                   -- the time of that claim; NULL: equal to the fence
    state       INTEGER NOT NULL,          -- 0 done, 1 claimed, 2 released, 3 buried
    token       BLOB NOT NULL,             -- of the last claim
    free_at     INTEGER NOT NULL,          -- the end of the lease or of the back-off; 0 if settled
    attempt     INTEGER NOT NULL,
    previous    INTEGER NOT NULL,          -- 0 none, 1 released, 2 vanished
    fingerprint BLOB,                      -- the first 8 bytes of the payload's
    scope       TEXT,
    id          BLOB,                      -- the message ID
    reason      TEXT,                      -- the reason for burying it
    outcome     BLOB,                      -- the handler's outcome once done; the progress of its attempts before
    CHECK (length(key) = 16 AND length(token) = 16)
) STRICT, WITHOUT ROWID;
"
    };
}

/// The columns of a generation of full records; the table's name stands before them.
pub(crate) const FULL: &str = full_columns!();

/// The indexes of a generation of full records, for operators: the few buried ones, and those with names. `{table}` stands
/// for the table's name, which is in `main`.
pub(crate) const FULL_INDEXES: &str = "
CREATE INDEX main.{table}_buried ON {table} (key) WHERE state = 3;
CREATE INDEX main.{table}_scope ON {table} (scope, key) WHERE scope IS NOT NULL;
";

/// The columns of a generation of brief records: done at the first attempt, without further content.
pub(crate) const BRIEF: &str = "(
    key         BLOB NOT NULL PRIMARY KEY,
    fence       INTEGER NOT NULL,          -- less the generation's `opened`
    life        INTEGER NOT NULL,          -- from the fence to the expiry, less the generation's `life`
    token       BLOB NOT NULL,             -- the first 4 bytes
    fingerprint BLOB,
    CHECK (length(key) = 16 AND length(token) = 4)
) STRICT, WITHOUT ROWID";

const CREATE: &str = concat!(
    "
CREATE TABLE main.ackonce_meta (
    name  TEXT NOT NULL PRIMARY KEY,
    value ANY NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE main.ackonce_claims ",
    full_columns!(),
    "CREATE TABLE main.ackonce_generations (   -- of settled records: the tables ackonce_brief_N and ackonce_full_N
    id         INTEGER NOT NULL PRIMARY KEY,
    shape      INTEGER NOT NULL,           -- 0 brief, 1 full
    bound      INTEGER NOT NULL,           -- the longest window it takes, in microseconds
    opened     INTEGER NOT NULL,
    life       INTEGER NOT NULL,
    ends       INTEGER NOT NULL,           -- no record expires later
    last_fence INTEGER NOT NULL,           -- no record has a higher one; 0 until it is sealed
    rows       INTEGER NOT NULL,           -- approximate until it is sealed
    sealed     INTEGER NOT NULL,           -- 1: takes no further record
    level      INTEGER,                    -- of a sealed one: the level of its filter
    seal       INTEGER                     -- of a sealed one: a random number, which names its filter in memory
) STRICT;
CREATE TABLE main.ackonce_filters (        -- of sealed generations, in 2^level parts each
    level      INTEGER NOT NULL,
    part       INTEGER NOT NULL,           -- the first bits of its names, as many as the level
    generation INTEGER NOT NULL,
    blocks     BLOB NOT NULL,
    PRIMARY KEY (level, part, generation)
) STRICT, WITHOUT ROWID;
CREATE TABLE main.ackonce_audit (          -- changes by operators; the store never reads or removes them
    at        INTEGER NOT NULL,
    operation TEXT NOT NULL,               -- forget, redrive
    key       BLOB NOT NULL,               -- of the record
    scope     TEXT,
    id        BLOB,
    actor     TEXT NOT NULL,
    reason    TEXT NOT NULL,
    before    TEXT NOT NULL                -- the record's state until then
) STRICT;
CREATE INDEX main.ackonce_audit_key ON ackonce_audit (key);
INSERT INTO main.ackonce_meta VALUES
    ('schema', 4),
    ('secret', randomblob(64)),
    ('generations', 0),                    -- the last number of a generation
    ('incarnation', randomblob(16));       -- random, new with each change to the generations
"
);

/// Creates the store's tables in the main database of this connection unless they are there, in one transaction; a
/// crash leaves all of them or none. [`SqliteStore::open`](crate::SqliteStore::open) does so by itself; call it for a
/// file that only guards use, with the other migrations of your application.
///
/// ```
/// use ackonce_sqlite::{create_schema, rusqlite::Connection};
///
/// let conn = Connection::open_in_memory()?;
/// create_schema(&conn)?;
/// create_schema(&conn)?; // They are there already.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`NewerSchema`](ErrorKind::NewerSchema) if a newer version of this crate made the tables,
/// [`Config`](ErrorKind::Config) if an older one made them that this version does not read,
/// [`Corrupt`](ErrorKind::Corrupt) if no version made them in this form, and the errors of a write in SQLite.
pub fn create_schema(conn: &Connection) -> Result<()> {
    if exist(conn)? {
        return Ok(());
    }
    // Check again after BEGIN IMMEDIATE: another process may have created them meanwhile.
    let tx = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)
        .map_err(|e| rolled_back("locking the file to create the tables", e))?;
    if exist(&tx)? {
        return Ok(());
    }
    tx.execute_batch(CREATE).map_err(|e| rolled_back("creating the tables", e))?;
    tx.commit().map_err(|e| rolled_back("creating the tables", e))
}

/// The SQL that creates the store's tables, for migrations by hand. It fails, and changes nothing, if they exist.
///
/// ```
/// use ackonce_sqlite::{create_schema, rusqlite::Connection, schema_sql};
///
/// let conn = Connection::open_in_memory()?;
/// conn.execute_batch(&schema_sql())?;
/// create_schema(&conn)?; // They are there already.
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn schema_sql() -> String {
    format!("BEGIN IMMEDIATE;\n{CREATE}COMMIT;\n")
}

/// Fails unless the tables exist in the version that this code writes.
pub(crate) fn check(conn: &Connection) -> Result<()> {
    if exist(conn)? {
        return Ok(());
    }
    let message = "sqlite: the store's tables are missing; restart the program, open a SqliteStore or call create_schema";
    Err(Error::new(ErrorKind::Config, message))
}

/// The present random value of the file. Memory derived under another value is invalid: the generations have changed,
/// a backup was restored, or the tables were made anew.
pub(crate) fn incarnation(conn: &Connection) -> Result<Incarnation> {
    let sql = "SELECT (SELECT value FROM main.ackonce_meta WHERE name = 'schema'), \
               (SELECT value FROM main.ackonce_meta WHERE name = 'incarnation')";
    let read = conn
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([], |r| Ok((r.get::<_, Option<i64>>(0)?, r.get(1)?))))
        .map_err(|e| rolled_back("reading the file's incarnation", e))?;
    match read {
        (Some(VERSION), Some(incarnation)) => Ok(incarnation),
        (version, incarnation) => Err(unreadable(version, incarnation.is_some())),
    }
}

/// Writes a new value, together with a change to the generations.
pub(crate) fn renew(conn: &Connection) -> Result<Incarnation> {
    let new = Token::random().0;
    conn.prepare_cached("UPDATE main.ackonce_meta SET value = ?1 WHERE name = 'incarnation'")
        .and_then(|mut s| s.execute([&new]))
        .map_err(|e| rolled_back("writing the file's incarnation", e))?;
    Ok(new)
}

fn exist(conn: &Connection) -> Result<bool> {
    let exists = conn
        .prepare_cached("SELECT 1 FROM main.sqlite_schema WHERE type = 'table' AND name = 'ackonce_meta'")
        .and_then(|mut s| s.exists([]))
        .map_err(|e| rolled_back("reading the file", e))?;
    if exists {
        incarnation(conn)?;
    }
    Ok(exists)
}

fn unreadable(version: Option<i64>, incarnation: bool) -> Error {
    match version {
        Some(newer) if newer > VERSION => Error::new(
            ErrorKind::NewerSchema,
            format!(
                "sqlite: the records were written by a newer version (schema {newer}, known is {VERSION}); \
                 upgrade ackonce-sqlite"
            ),
        ),
        Some(old) if (1..VERSION).contains(&old) || (old == VERSION && !incarnation) => Error::new(
            ErrorKind::Config,
            "sqlite: the records were written before the first release, in a form that is not read any more; \
             move the file away, or drop its ackonce_ tables, to start with no records",
        ),
        other => Error::new(
            ErrorKind::Corrupt,
            format!("sqlite: the table ackonce_meta names schema {other:?}, which no version wrote"),
        ),
    }
}
