//! The columns of a record, and their meaning.

use ackonce::protocol::Row;
use ackonce::store::{Fingerprint, State, Token};
use ackonce::{Previous, Result};
use bytes::Bytes;

use crate::clock::moment;
use crate::error::corrupt_row;

/// The columns to select for [`Full::of`]; a statement may add columns of its own after them.
macro_rules! full {
    () => {
        "expires, state, token, fence, claimed, free_at, attempt, previous, fingerprint, reason, outcome"
    };
}
pub(crate) use full;

/// The columns to select for [`Brief::of`]; a statement may add columns of its own after them.
macro_rules! brief {
    () => {
        "fence, life, token, fingerprint"
    };
}
pub(crate) use brief;

/// The shape of a settled record, and of all records in one generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The record of a message that was done at its first attempt and has no further content: most of them.
    Brief,
    /// Any record.
    Full,
}

/// The number of fingerprint bytes that are stored; the others are read back as zeros.
const FINGERPRINT: usize = 8;
/// The number of token bytes in a brief record: its fence already identifies the claim.
const TOKEN: usize = 4;

/// A record as read at some moment.
pub(crate) struct Decoded {
    pub(crate) row: Row,
    /// True if its moments were moved back, see [`shift_to_now`]; the record must then be written.
    pub(crate) shifted: bool,
}

/// The columns of one full record, in the order of `full!`.
pub(crate) struct Full {
    expires: i64,
    state: i64,
    token: [u8; 16],
    fence: i64,
    claimed: Option<i64>,
    free_at: i64,
    attempt: i64,
    previous: i64,
    fingerprint: Option<[u8; FINGERPRINT]>,
    reason: Option<String>,
    outcome: Option<Vec<u8>>,
}

impl Full {
    pub(crate) fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            expires: row.get(0)?,
            state: row.get(1)?,
            token: row.get(2)?,
            fence: row.get(3)?,
            claimed: row.get(4)?,
            free_at: row.get(5)?,
            attempt: row.get(6)?,
            previous: row.get(7)?,
            fingerprint: row.get(8)?,
            reason: row.get(9)?,
            outcome: row.get(10)?,
        })
    }

    /// Decodes the columns into the record as it is at `now`.
    ///
    /// # Errors
    /// The columns hold values that no version of this code writes.
    pub(crate) fn decode(self, now: u64) -> Result<Decoded> {
        let fence = below_max("fence", self.fence)?;
        let row = Row {
            state: state_of(self.state)?,
            token: Token(self.token),
            fence,
            claimed: self.claimed.map_or(Ok(fence), |moment| unsigned("claim time", moment))?,
            attempt: u32::try_from(self.attempt).map_err(|_| corrupt_row("attempt", self.attempt))?,
            previous: match self.previous {
                0 => Previous::None,
                1 => Previous::Released,
                2 => Previous::Vanished,
                other => return Err(corrupt_row("previous attempt", other)),
            },
            fingerprint: self.fingerprint.map(padded),
            free_at: unsigned("end of a lease or a back-off", self.free_at)?,
            expires: unsigned("expiry", self.expires)?,
            outcome: self.outcome.map(Bytes::from),
            reason: self.reason,
        };
        Ok(shift_to_now(row, now))
    }
}

/// The columns of one brief record, in the order of `brief!`: a message that was done at its first attempt.
pub(crate) struct Brief {
    pub(crate) fence: i64,
    pub(crate) life: i64,
    pub(crate) token: [u8; TOKEN],
    pub(crate) fingerprint: Option<[u8; FINGERPRINT]>,
}

impl Brief {
    pub(crate) fn of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { fence: row.get(0)?, life: row.get(1)?, token: row.get(2)?, fingerprint: row.get(3)? })
    }

    /// Decodes the columns into the record as it is at `now`. Its generation's `opened` and `life` are the bases of
    /// the stored fence and life. If `token` begins with the stored bytes, it is the token of the record.
    ///
    /// # Errors
    /// The columns hold values that no version of this code writes.
    pub(crate) fn decode(
        self,
        (opened, life): (i64, i64),
        token: Option<Token>,
        now: u64,
    ) -> Result<Decoded> {
        let fence = below_max("fence", opened.saturating_add(self.fence))?;
        let life = life.checked_add(self.life);
        let expires = life.and_then(|life| moment(fence).checked_add(life)).unwrap_or(-1);
        let mut beginning = [0; 16];
        beginning[..TOKEN].copy_from_slice(&self.token);
        let row = Row {
            state: State::Done,
            token: token.filter(|t| t.0[..TOKEN] == self.token).unwrap_or(Token(beginning)),
            fence,
            claimed: fence,
            attempt: 1,
            previous: Previous::None,
            fingerprint: self.fingerprint.map(padded),
            free_at: 0,
            expires: unsigned("expiry", expires)?,
            outcome: None,
            reason: None,
        };
        Ok(shift_to_now(row, now))
    }

    /// Encodes a record for such a generation; `None` if the record holds more than a brief one can.
    pub(crate) fn encode(row: &Row, opened: i64, life: i64) -> Option<Self> {
        let plain = row.state == State::Done
            && row.attempt == 1
            && row.previous == Previous::None
            && row.claimed == row.fence
            && row.outcome.is_none()
            && row.reason.is_none();
        let (fence, expires) = (moment(row.fence), moment(row.expires));
        let life = expires.checked_sub(fence)?.checked_sub(life)?;
        let mut token = [0; TOKEN];
        token.copy_from_slice(&row.token.0[..TOKEN]);
        let fingerprint = row.fingerprint.map(stored_fingerprint);
        plain.then_some(Self { fence: fence.checked_sub(opened)?, life, token, fingerprint })
    }
}

/// The stored part of a fingerprint.
pub(crate) fn stored_fingerprint(fingerprint: Fingerprint) -> [u8; FINGERPRINT] {
    let mut stored = [0; FINGERPRINT];
    stored.copy_from_slice(&fingerprint.0[..FINGERPRINT]);
    stored
}

/// The fingerprint as it is read back, so that a later payload is compared with the stored part only.
pub(crate) fn truncated(fingerprint: Fingerprint) -> Fingerprint {
    padded(stored_fingerprint(fingerprint))
}

fn padded(stored: [u8; FINGERPRINT]) -> Fingerprint {
    let mut fingerprint = [0; 16];
    fingerprint[..FINGERPRINT].copy_from_slice(&stored);
    Fingerprint(fingerprint)
}

/// The code under which a state is stored.
pub(crate) fn state_code(state: State) -> i64 {
    match state {
        State::Done => 0,
        State::Claimed => 1,
        State::Released => 2,
        State::Buried => 3,
    }
}

/// The state that is stored under that code.
pub(crate) fn state_of(code: i64) -> Result<State> {
    let known = State::ALL.into_iter().find(|state| state_code(*state) == code);
    known.ok_or_else(|| corrupt_row("state", code))
}

/// Rejects the highest value, because no successor of it could be granted.
fn below_max(what: &str, value: i64) -> Result<u64> {
    unsigned(what, value.checked_add(1).map_or(-1, |_| value))
}

fn unsigned(what: &str, value: i64) -> Result<u64> {
    u64::try_from(value).map_err(|_| corrupt_row(what, value))
}

/// Moves the moments of a record back if its claim lies in the future, because the clock was then set back since. All
/// moments move by the same amount: the record then holds from now for its full original time. That is never too
/// short, since some of that time has passed; unmoved moments would make it too long by the amount of the change.
fn shift_to_now(mut row: Row, now: u64) -> Decoded {
    let ahead = row.claimed.saturating_sub(now);
    row.claimed -= ahead;
    row.free_at = row.free_at.saturating_sub(ahead);
    row.expires = row.expires.saturating_sub(ahead);
    Decoded { row, shifted: ahead > 0 }
}
