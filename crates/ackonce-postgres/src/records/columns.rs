//! One record, converted from PostgreSQL's columns to the protocol's row.

use ackonce::protocol::Row;
use ackonce::store::{Fingerprint, State, Token};
use ackonce::{Error, ErrorKind, Previous, Result};
use bytes::Bytes;
use tokio_postgres::Row as Columns;

use super::Id;
use super::key::from_hex;

/// A statement's answer for one key: the record after the statement, if there is one.
#[derive(Debug)]
pub(crate) struct RowState {
    pub(crate) key: Id,
    /// True if this statement wrote the record.
    pub(crate) written: bool,
    /// The time of the decision, by the server's clock.
    pub(crate) now: u64,
    pub(crate) row: Option<Stored>,
    /// The reason for which there is no row: the record cannot be read.
    pub(crate) damage: Option<Error>,
}

impl RowState {
    /// # Errors
    /// The record cannot be read.
    fn undamaged(self) -> Result<Self> {
        match self.damage {
            Some(damage) => Err(damage),
            None => Ok(self),
        }
    }
}

/// A record, and its claim's token unless it is done.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    token: Option<Token>,
    row: Row,
}

impl Stored {
    /// The row, for a request with `token`. A done record has no token: a fence is given to one claim
    /// of a key alone, so a request with the same fence has the same token.
    pub(crate) fn under(&self, token: Token) -> Row {
        Row { token: self.token.unwrap_or(token), ..self.row.clone() }
    }
}

/// Columns `key, written, now, fence, expires, token, free_at, tally, fingerprint, detail`.
/// `None` for a row without a key, the sign of an empty answer.
///
/// # Errors
/// The record cannot be read, or the tables are not this store's.
pub(crate) fn decode(columns: &Columns) -> Result<Option<RowState>> {
    decode_any(columns)?.map(RowState::undamaged).transpose()
}

/// The same, of a batch, of which a damaged record is no other's trouble.
pub(crate) fn decode_any(columns: &Columns) -> Result<Option<RowState>> {
    let Some(key) = get(columns, 0)? else { return Ok(None) };
    let fence: Option<i64> = get(columns, 3)?;
    let fields = fence.map(|fence| fields(columns, fence)).transpose()?;
    let (row, damage) = match fields.map(Fields::stored).transpose() {
        Ok(row) => (row, None),
        Err(damage) => (None, Some(damage)),
    };
    Ok(Some(RowState { key, written: get(columns, 1)?, now: now(columns)?, row, damage }))
}

/// The time of a statement's decision, which every row of its answer has.
pub(crate) fn now(columns: &Columns) -> Result<u64> {
    unsigned("moment", get(columns, 2)?)
}

fn fields(columns: &Columns, fence: i64) -> Result<Fields> {
    Ok(Fields {
        fence,
        expires: get(columns, 4)?,
        token: get(columns, 5)?,
        free_at: get(columns, 6)?,
        tally: get(columns, 7)?,
        fingerprint: get(columns, 8)?,
        detail: get::<Option<&[u8]>>(columns, 9)?.map(Bytes::copy_from_slice),
    })
}

/// The columns of one record.
struct Fields {
    fence: i64,
    expires: i64,
    token: Option<Id>,
    free_at: Option<i64>,
    tally: Option<i32>,
    fingerprint: Option<i64>,
    detail: Option<Bytes>,
}

impl Fields {
    fn stored(self) -> Result<Stored> {
        let fence = unsigned("fence", self.fence)?;
        let tally = self.tally.unwrap_or(10);
        let (state, previous) = state(tally)?;
        let (outcome, reason) = details(state, self.detail.as_deref());
        let row = Row {
            state,
            token: Token([0; 16]),
            fence,
            // A fence is the time of its claim, unless the clock was set back: the age is then too small.
            claimed: fence,
            attempt: u32::try_from(tally / 10).map_err(|_| corrupt("tally", tally))?,
            previous,
            fingerprint: self.fingerprint.map(whole),
            free_at: unsigned("free_at", self.free_at.unwrap_or(0))?,
            // A negative expiry: a settlement found no record here.
            expires: unsigned("expiry", self.expires.max(0))?,
            outcome,
            reason,
        };
        Ok(Stored { token: self.token.map(|t| Token(t.0)), row })
    }
}

/// The SQL of a record as one line of text, for drivers of any kind: [`parse`] reads it. `row` is the record's alias,
/// `now` the time of the decision.
pub(crate) fn line(row: &str, now: &str) -> String {
    format!(
        "concat_ws(' ', {row}.key, {now}, {row}.fence, {row}.expires, coalesce({row}.token::text, '-'), \
         coalesce({row}.free_at::text, '-'), coalesce({row}.tally::text, '-'), coalesce({row}.fingerprint::text, '-'), \
         coalesce(encode({row}.detail, 'hex'), '-'))"
    )
}

/// Reads such a line. The statement has not written the record if `written` is false.
pub(crate) fn parse(line: &str, written: bool) -> Result<RowState> {
    let unreadable = || Error::new(ErrorKind::Corrupt, "postgres: a record cannot be read");
    let mut words = line.split(' ');
    let mut word = || words.next().ok_or_else(unreadable);
    fn some(word: &str) -> Option<&str> {
        (word != "-").then_some(word)
    }
    let number = |word: &str| word.parse::<i64>().map_err(|_| unreadable());
    let id = |word: &str| Id::from_text(word).ok_or_else(unreadable);
    let (key, now) = (id(word()?)?, number(word()?)?);
    let fields = Fields {
        fence: number(word()?)?,
        expires: number(word()?)?,
        token: some(word()?).map(id).transpose()?,
        free_at: some(word()?).map(number).transpose()?,
        tally: some(word()?).map(|word| word.parse().map_err(|_| unreadable())).transpose()?,
        fingerprint: some(word()?).map(number).transpose()?,
        detail: some(word()?)
            .map(|word| from_hex(word).map(Bytes::from).ok_or_else(unreadable))
            .transpose()?,
    };
    let (now, row) = (unsigned("moment", now)?, Some(fields.stored()?));
    Ok(RowState { key, written, now, row, damage: None })
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
