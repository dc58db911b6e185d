//! One record, as SQLite keeps it and as the protocol sees it.

use ackonce::protocol::Row;
use ackonce::{Error, Fingerprint, Key, Lease, Previous, Result, State, Token};
use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use crate::Names;
use crate::error::{corrupt_row, rolled_back};

const READ: &str = "SELECT expires, state, token, fence, claimed, lease_ends, attempt, previous, \
                    fingerprint, reason, outcome FROM main.ackonce_records WHERE key = ?1";

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

/// A record as read at some moment.
pub(crate) struct Seen {
    pub(crate) row: Row,
    /// Its moments were moved back, see [`follow`]; it must be written.
    pub(crate) moved: bool,
}

/// The record of `digest`, whether it expired or not.
pub(crate) fn read(conn: &Connection, digest: &[u8; 32], now: u64) -> Result<Option<Seen>> {
    let mut statement = conn.prepare_cached(READ).map_err(|e| rolled_back("reading a record", e))?;
    let columns = statement
        .query_row([digest], |r| {
            Ok(Columns {
                expires: r.get(0)?,
                state: r.get(1)?,
                token: r.get(2)?,
                fence: r.get(3)?,
                claimed: r.get(4)?,
                lease_ends: r.get(5)?,
                attempt: r.get(6)?,
                previous: r.get(7)?,
                fingerprint: r.get(8)?,
                reason: r.get(9)?,
                outcome: r.get(10)?,
            })
        })
        .optional()
        .map_err(|e| rolled_back("reading a record", e))?;
    columns.map(|c| c.decode().map(|row| follow(row, now))).transpose()
}

struct Columns {
    expires: i64,
    state: i64,
    token: Vec<u8>,
    fence: i64,
    claimed: i64,
    lease_ends: i64,
    attempt: i64,
    previous: i64,
    fingerprint: Option<Vec<u8>>,
    reason: Option<String>,
    outcome: Option<Vec<u8>>,
}

impl Columns {
    fn decode(self) -> Result<Row> {
        Ok(Row {
            state: match self.state {
                0 => State::Done,
                1 => State::Claimed,
                2 => State::Released,
                3 => State::Buried,
                other => return Err(corrupt_row("state", other)),
            },
            token: Token(sixteen("token", &self.token)?),
            // The highest value has no successor to grant.
            fence: unsigned("fence", self.fence.checked_add(1).map_or(-1, |_| self.fence))?,
            claimed: unsigned("claim time", self.claimed)?,
            attempt: u32::try_from(self.attempt).map_err(|_| corrupt_row("attempt", self.attempt))?,
            previous: match self.previous {
                0 => Previous::None,
                1 => Previous::Released,
                2 => Previous::Vanished,
                other => return Err(corrupt_row("previous attempt", other)),
            },
            fingerprint: self
                .fingerprint
                .map(|bytes| sixteen("fingerprint", &bytes).map(Fingerprint))
                .transpose()?,
            lease_ends: unsigned("lease end", self.lease_ends)?,
            expires: unsigned("expiry", self.expires)?,
            outcome: self.outcome.map(Bytes::from),
            reason: self.reason,
        })
    }
}

fn unsigned(what: &str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| corrupt_row(what, value))
}

fn sixteen(what: &str, bytes: &[u8]) -> Result<[u8; 16]> {
    bytes.try_into().map_err(|_| corrupt_row(what, format_args!("{} bytes long", bytes.len())))
}

/// A record claimed in the clock's future says that the clock was set back since. Its moments follow by the
/// same step: it then holds from now for as long as it was to hold from its claim, which is never too short
/// (some of that time has passed) and, unlike a moment that is left standing, not longer by the step.
fn follow(mut row: Row, now: u64) -> Seen {
    let ahead = row.claimed.saturating_sub(now);
    row.claimed -= ahead;
    row.lease_ends = row.lease_ends.saturating_sub(ahead);
    row.expires = row.expires.saturating_sub(ahead);
    Seen { row, moved: ahead > 0 }
}

/// Inserts or replaces the record of `key`.
pub(crate) fn write(conn: &Connection, key: &Key, row: &Row, names: Names) -> Result<()> {
    let (scope, id) = match names {
        Names::Keep => (Some(key.scope().name()), Some(&key.id()[..])),
        Names::Omit => (None, None),
    };
    let state = match row.state {
        State::Done => 0,
        State::Claimed => 1,
        State::Released => 2,
        State::Buried => 3,
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
                state,
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
