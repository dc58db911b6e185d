//! One record, read and written by its key.

use ackonce::protocol::Row;
use ackonce::{Error, Key, Lease, Previous, Result, State};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::Names;
use crate::columns::{Columns, Seen, code, columns};
use crate::error::rolled_back;

const READ: &str = concat!("SELECT ", columns!(), " FROM main.ackonce_records WHERE key = ?1");

/// `ON CONFLICT` names the key, so that no other violated constraint can pass for a duplicate.
const WRITE: &str = "INSERT INTO main.ackonce_records (key, expires, state, token, fence, claimed, \
                     lease_ends, attempt, previous, fingerprint, reason, outcome, scope, id) \
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) \
                     ON CONFLICT (key) DO UPDATE SET expires = excluded.expires, state = excluded.state, \
                     token = excluded.token, fence = excluded.fence, claimed = excluded.claimed, \
                     lease_ends = excluded.lease_ends, attempt = excluded.attempt, \
                     previous = excluded.previous, fingerprint = excluded.fingerprint, \
                     reason = excluded.reason, outcome = excluded.outcome";

const COMPLETE: &str = "UPDATE main.ackonce_records SET state = 0, lease_ends = 0, expires = ?4, \
                        outcome = ?5 WHERE key = ?1 AND token = ?2 AND fence = ?3 AND state = 1";

/// The record of `digest`, whether it expired or not.
pub(crate) fn read(conn: &Connection, digest: &[u8; 32], now: u64) -> Result<Option<Seen>> {
    let mut statement = conn.prepare_cached(READ).map_err(|e| rolled_back("reading a record", e))?;
    let columns = statement
        .query_row([digest], Columns::of)
        .optional()
        .map_err(|e| rolled_back("reading a record", e))?;
    columns.map(|c| c.decode(now)).transpose()
}

/// Inserts or replaces the record of `key`.
pub(crate) fn write(conn: &Connection, key: &Key, row: &Row, names: Names) -> Result<()> {
    let (scope, id) = match names {
        Names::Keep => (Some(key.scope().name()), Some(&key.id()[..])),
        Names::Omit => (None, None),
    };
    let previous = match row.previous {
        Previous::None => 0,
        Previous::Released => 1,
        Previous::Vanished => 2,
    };
    let lease_ends = if row.state == State::Claimed { moment(row.lease_ends) } else { 0 };
    conn.prepare_cached(WRITE)
        .and_then(|mut s| {
            s.execute(params![
                key.digest(),
                moment(row.expires),
                code(row.state),
                row.token.0,
                moment(row.fence),
                moment(row.claimed),
                lease_ends,
                row.attempt,
                previous,
                row.fingerprint.map(|f| f.0),
                row.reason,
                row.outcome.as_deref(),
                scope,
                id,
            ])
        })
        .map_err(|e| rolled_back("writing a record", e))
        .and_then(one_row)
}

/// Completes the claim that `lease` names; whether it was still there to complete.
pub(crate) fn complete(
    conn: &Connection,
    lease: &Lease,
    outcome: Option<&Bytes>,
    expires: u64,
) -> Result<bool> {
    let changed = conn
        .prepare_cached(COMPLETE)
        .and_then(|mut s| {
            let outcome = outcome.map(|o| &o[..]);
            s.execute(params![
                lease.key.digest(),
                lease.token.0,
                moment(lease.fence),
                moment(expires),
                outcome
            ])
        })
        .map_err(|e| rolled_back("completing a record", e))?;
    Ok(changed == 1)
}

fn one_row(changed: usize) -> Result<()> {
    match changed {
        1 => Ok(()),
        n => Err(Error::new(
            ackonce::ErrorKind::Protocol,
            format!("sqlite: writing a record changed {n} rows"),
        )),
    }
}

/// Moments past the year 292277 are as good as that year.
fn moment(micros: u64) -> i64 {
    i64::try_from(micros).unwrap_or(i64::MAX)
}
