//! One record, converted from PostgreSQL's columns to the protocol's row.

use ackonce::protocol::Row;
use ackonce::store::{Fingerprint, State, Token};
use ackonce::{Error, ErrorKind, Previous, Result};
use bytes::Bytes;
use tokio_postgres::Row as Columns;

use super::Id;

/// A statement's answer for one key: the record after the statement, if there is one.
#[derive(Debug)]
pub(crate) struct RowState {
    pub(crate) key: Id,
    /// True if this statement wrote the record.
    pub(crate) written: bool,
    /// The time of the decision, by the server's clock.
    pub(crate) now: u64,
    pub(crate) row: Option<Stored>,
}

/// A record, and its claim's token unless it was settled.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    token: Option<Token>,
    row: Row,
}

impl Stored {
    /// The row, for a request with `token`. A settled record has no token: a fence is given to one claim
    /// of a key alone, so a request with the same fence has the same token.
    pub(crate) fn under(&self, token: Token) -> Row {
        Row { token: self.token.unwrap_or(token), ..self.row.clone() }
    }
}

/// Columns `key, written, now, fence, expires, token, free_at, tally, fingerprint, detail`.
/// `None` for a row without a key, the sign of an empty answer.
pub(crate) fn decode(columns: &Columns) -> Result<Option<RowState>> {
    let Some(key) = get(columns, 0)? else { return Ok(None) };
    let fence: Option<i64> = get(columns, 3)?;
    Ok(Some(RowState {
        key,
        written: get(columns, 1)?,
        now: now(columns)?,
        row: fence.map(|fence| stored(columns, fence)).transpose()?,
    }))
}

/// The time of a statement's decision, which every row of its answer has.
pub(crate) fn now(columns: &Columns) -> Result<u64> {
    unsigned("moment", get(columns, 2)?)
}

fn stored(columns: &Columns, fence: i64) -> Result<Stored> {
    let fence = unsigned("fence", fence)?;
    let token: Option<Id> = get(columns, 5)?;
    let free_at: Option<i64> = get(columns, 6)?;
    let tally: i32 = get::<Option<i32>>(columns, 7)?.unwrap_or(10);
    let expires: i64 = get(columns, 4)?;
    let fingerprint: Option<i64> = get(columns, 8)?;
    let detail: Option<&[u8]> = get(columns, 9)?;
    let (state, previous) = state(tally)?;
    let (outcome, reason) = details(state, detail);
    let row = Row {
        state,
        token: Token([0; 16]),
        fence,
        // A fence is the time of its claim, unless the clock was set back: the age is then too small.
        claimed: fence,
        attempt: u32::try_from(tally / 10).map_err(|_| corrupt("tally", tally))?,
        previous,
        fingerprint: fingerprint.map(whole),
        free_at: unsigned("free_at", free_at.unwrap_or(0))?,
        // A negative expiry: a settlement found no record here.
        expires: unsigned("expiry", expires.max(0))?,
        outcome,
        reason,
    };
    Ok(Stored { token: token.map(|t| Token(t.0)), row })
}

/// The outcome or progress of a record, and the reason of a buried one.
fn details(state: State, detail: Option<&[u8]>) -> (Option<Bytes>, Option<String>) {
    let Some(detail) = detail.filter(|_| state == State::Buried) else {
        return (detail.map(Bytes::copy_from_slice), None);
    };
    // No UTF-8 text has this byte.
    let mut parts = detail.splitn(2, |byte| *byte == 0xff);
    let reason = parts.next().map(|reason| String::from_utf8_lossy(reason).into_owned());
    (parts.next().map(Bytes::copy_from_slice), reason)
}

fn state(tally: i32) -> Result<(State, Previous)> {
    Ok(match tally % 10 {
        0 => (State::Done, Previous::None),
        1 => (State::Buried, Previous::None),
        2 => (State::Claimed, Previous::None),
        3 => (State::Claimed, Previous::Released),
        4 => (State::Claimed, Previous::Vanished),
        5 => (State::Released, Previous::Released),
        6 => (State::Released, Previous::Vanished),
        _ => return Err(corrupt("tally", tally)),
    })
}

/// The stored half of a fingerprint: it tells payloads apart and never decides identity.
pub(crate) fn half(fingerprint: Fingerprint) -> i64 {
    let mut half = [0; 8];
    half.copy_from_slice(&fingerprint.0[..8]);
    i64::from_be_bytes(half)
}

/// The stored half, padded with zeros.
pub(crate) fn whole(half: i64) -> Fingerprint {
    let mut whole = [0; 16];
    whole[..8].copy_from_slice(&half.to_be_bytes());
    Fingerprint(whole)
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(columns: &'a Columns, n: usize) -> Result<T> {
    columns.try_get(n).map_err(|e| {
        Error::new(ErrorKind::Corrupt, "postgres: the tables differ from those that this store creates")
            .with_source(e)
    })
}

fn unsigned(what: &str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| corrupt(what, value))
}

fn corrupt(what: &str, value: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Corrupt, format!("postgres: a record's {what} is {value}, which is not possible"))
}
