//! A row as the scripts write it (`lua/row.lua`), read for records.

use std::time::Duration;

use ackonce::Result;
use ackonce::store::{Fingerprint, Record, State};
use bytes::Bytes;

use super::{Reply, misread};

const FULL: [usize; 2] = [50, 58];
const SETTLED: [usize; 2] = [13, 21];
/// Flags of a full row.
const BODY: u8 = 16;

/// One row. Moments are microseconds of the server's clock since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) state: State,
    pub(crate) expires: u64,
    /// When the next claim may be granted; zero once it is done or buried.
    pub(crate) free_at: u64,
    claimed: u64,
    attempt: u32,
    pub(crate) fence: u64,
    fingerprint: Option<Fingerprint>,
    /// An outcome or a reason lies beside it.
    pub(crate) has_body: bool,
}

impl Row {
    /// The row that comes next in a reply, with its length before it; `None` for one that the script could not read.
    pub(crate) fn read(reply: &mut Reply<'_>) -> Result<Option<Self>> {
        let len = usize::from(reply.u8()?);
        match len {
            0 => Ok(None),
            _ if FULL.contains(&len) => Self::full(reply, len == FULL[1]).map(Some),
            _ if SETTLED.contains(&len) => Self::settled(reply, len == SETTLED[1]).map(Some),
            _ => Err(misread("a row of no known length came back")),
        }
    }

    fn full(reply: &mut Reply<'_>, has_print: bool) -> Result<Self> {
        let (expires, free_at, claimed) = (reply.u56()?, reply.u56()?, reply.u56()?);
        let flags = reply.u8()?;
        let attempt = reply.u32()?;
        let fence = reply.u64()?;
        reply.bytes(16)?;
        let state = state_of(flags);
        Ok(Self {
            state,
            expires,
            free_at: if matches!(state, State::Claimed | State::Released) { free_at } else { 0 },
            claimed,
            attempt,
            fence,
            fingerprint: print(reply, has_print)?,
            has_body: flags & BODY != 0,
        })
    }

    fn settled(reply: &mut Reply<'_>, has_print: bool) -> Result<Self> {
        let expires = u64::from(reply.u32()?) * 1_000_000;
        let packed = reply.u56()?;
        reply.bytes(2)?;
        let fence = packed & ((1 << 52) - 1);
        Ok(Self {
            state: State::Done,
            expires,
            free_at: 0,
            claimed: fence,
            attempt: u32::try_from(packed >> 52).unwrap_or(u32::MAX),
            fence,
            fingerprint: print(reply, has_print)?,
            has_body: false,
        })
    }

    /// The record at `now`, with the text that was beside it: an outcome, progress, or a reason and the progress after it.
    pub(crate) fn record(self, now: u64, body: Option<Bytes>) -> Record {
        let (outcome, progress, reason) = match (self.state, body) {
            (State::Done, outcome) => (outcome, None, None),
            (State::Buried, Some(body)) => {
                // No UTF-8 text has this byte.
                let end = body.iter().position(|byte| *byte == 0xff);
                let reason = String::from_utf8_lossy(&body[..end.unwrap_or(body.len())]).into_owned();
                (None, end.map(|end| body.slice(end + 1..)), Some(reason))
            }
            (_, progress) => (None, progress, None),
        };
        Record {
            state: self.state,
            fence: self.fence,
            attempt: self.attempt,
            fingerprint: self.fingerprint,
            outcome,
            progress,
            reason,
            age: Duration::from_micros(now.saturating_sub(self.claimed)),
        }
    }
}

/// The state in the lowest bits of a row's flags.
pub(crate) fn state_of(flags: u8) -> State {
    match flags % 4 {
        0 => State::Claimed,
        1 => State::Released,
        2 => State::Done,
        _ => State::Buried,
    }
}

/// The code of a state in the scripts.
pub(crate) fn state_code(state: State) -> u8 {
    match state {
        State::Claimed => 0,
        State::Released => 1,
        State::Done => 2,
        State::Buried => 3,
    }
}

/// Eight bytes are kept, padded with zeros.
fn print(reply: &mut Reply<'_>, has_print: bool) -> Result<Option<Fingerprint>> {
    if !has_print {
        return Ok(None);
    }
    let mut print = [0; 16];
    print[..8].copy_from_slice(reply.bytes(8)?);
    Ok(Some(Fingerprint(print)))
}
