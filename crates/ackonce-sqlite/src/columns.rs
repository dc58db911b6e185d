//! What the columns of a record mean.

use ackonce::protocol::Row;
use ackonce::{Fingerprint, Previous, Result, State, Token};
use bytes::Bytes;

use crate::error::corrupt_row;

/// What to select for [`Columns::of`]; columns of the statement's own may follow.
macro_rules! columns {
    () => {
        "expires, state, token, fence, claimed, lease_ends, attempt, previous, fingerprint, reason, outcome"
    };
}
pub(crate) use columns;

/// A record as read at some moment.
pub(crate) struct Seen {
    pub(crate) row: Row,
    /// Its moments were moved back, see [`follow`]; it must be written.
    pub(crate) moved: bool,
}

/// The columns of one record, in the order of `columns!`.
pub(crate) struct Columns {
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
    pub(crate) fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            expires: row.get(0)?,
            state: row.get(1)?,
            token: row.get(2)?,
            fence: row.get(3)?,
            claimed: row.get(4)?,
            lease_ends: row.get(5)?,
            attempt: row.get(6)?,
            previous: row.get(7)?,
            fingerprint: row.get(8)?,
            reason: row.get(9)?,
            outcome: row.get(10)?,
        })
    }

    /// What they say at `now`.
    ///
    /// # Errors
    /// No version of this code has written them.
    pub(crate) fn decode(self, now: u64) -> Result<Seen> {
        let row = Row {
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
        };
        Ok(follow(row, now))
    }
}

/// How a state is written.
pub(crate) fn code(state: State) -> i64 {
    match state {
        State::Done => 0,
        State::Claimed => 1,
        State::Released => 2,
        State::Buried => 3,
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
