//! The requests to the scripts and their answers, in the byte formats that `lua/*.lua` define.

use std::time::Duration;

use ackonce::store::{
    AdminOutcome, Attempt, ClaimRequest, Claimed, Lease, Record, Settle, Settled, Settlement, State, Token,
};
use ackonce::{Key, Previous, Result};
use bytes::Bytes;

use crate::names::{Field, Secret, field, tag};
use crate::reply::{Reply, misread};
use crate::row::Row;
use crate::script::{CLAIM, REPAIR, SETTLE, Script};

/// The longest span there is: 71 years, in microseconds. Now and two of them are exact as a double.
const EVER: u64 = 1 << 51;

/// One request in a batch.
pub(crate) trait Request: Sync {
    type Answer: Send;

    fn script() -> &'static Script;

    fn tag(&self) -> u16;

    /// Its approximate size in bytes.
    fn size(&self) -> usize {
        64
    }

    /// The field of its record.
    fn field(&self, secret: &Secret) -> Field;

    /// Its name for humans.
    fn name(&self) -> String;

    /// The answer if its record cannot be read; `None` where that is an error.
    fn if_unreadable(&self) -> Option<Self::Answer> {
        None
    }

    /// Writes the request. `before` is the request before it in the call.
    fn encode(&self, before: Option<&Self>, secret: &Secret, out: &mut Vec<u8>);

    fn decode(&self, word: u8, reply: &mut Reply<'_>) -> Result<Self::Answer>;
}

fn span(out: &mut Vec<u8>, span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).min(EVER);
    out.extend_from_slice(&micros.to_be_bytes()[1..]);
}

/// The optional parts of a request that follow: spans, if they differ from those before, and a fingerprint or body.
fn parts(spans: bool, rest: bool) -> u8 {
    u8::from(spans) + 2 * u8::from(rest)
}

fn unknown_word(word: u8) -> ackonce::Error {
    misread(&format!("`{}` is not an answer", word.escape_ascii()))
}

impl Request for ClaimRequest {
    type Answer = Claimed;

    fn script() -> &'static Script {
        &CLAIM
    }

    fn tag(&self) -> u16 {
        tag(&self.key)
    }

    fn field(&self, secret: &Secret) -> Field {
        field(secret, &self.key)
    }

    fn name(&self) -> String {
        format!("{:?}", self.key)
    }

    fn encode(&self, before: Option<&Self>, secret: &Secret, out: &mut Vec<u8>) {
        let has_spans = before.is_none_or(|b| (b.lease, b.window) != (self.lease, self.window));
        out.extend_from_slice(&self.field(secret));
        out.extend_from_slice(&self.token.0);
        out.push(parts(has_spans, self.fingerprint.is_some()));
        if has_spans {
            span(out, self.lease);
            span(out, self.window);
        }
        if let Some(fingerprint) = &self.fingerprint {
            out.extend_from_slice(&fingerprint.0[..8]);
        }
    }

    fn decode(&self, word: u8, reply: &mut Reply<'_>) -> Result<Claimed> {
        Ok(match word {
            b'A' => Claimed::Acquired(lease(&self.key, self.token, reply)?),
            b'B' => Claimed::Busy { free_in: Duration::from_micros(reply.u56()?) },
            b'D' => Claimed::Done(record(reply)?.1),
            b'M' => Claimed::Mismatch(record(reply)?.1),
            _ => return Err(unknown_word(word)),
        })
    }
}

fn lease(key: &Key, token: Token, reply: &mut Reply<'_>) -> Result<Lease> {
    Ok(Lease {
        key: key.clone(),
        token,
        fence: reply.u64()?,
        attempt: reply.u32()?,
        previous: match reply.u8()? {
            0 => Previous::None,
            1 => Previous::Released,
            2 => Previous::Vanished,
            _ => return Err(misread("the end of the attempt before is not known")),
        },
    })
}

/// A row with its record.
pub(crate) fn record(reply: &mut Reply<'_>) -> Result<(Row, Record)> {
    let row = Row::read(reply)?.ok_or_else(|| misread("an answer has no row"))?;
    let body = match reply.u32()? {
        0 => None,
        n => Some(Bytes::copy_from_slice(reply.bytes(usize::try_from(n - 1).unwrap_or(usize::MAX))?)),
    };
    let record = row.clone().record(reply.now, body);
    Ok((row, record))
}

/// The script's word for an action, and the text to keep beside the row.
fn words(action: &Settle) -> (u8, Option<&[u8]>) {
    match action {
        Settle::Complete { outcome: None, .. } => (b'C', None),
        Settle::Complete { outcome: Some(outcome), .. } => (b'O', Some(outcome)),
        Settle::Bury { reason, .. } => (b'X', Some(reason.as_bytes())),
        Settle::Release { attempt: Attempt::Counts, .. } => (b'R', None),
        Settle::Release { attempt: Attempt::Refunded, .. } => (b'F', None),
        Settle::Extend { .. } => (b'E', None),
        Settle::Redrive { .. } => (b'D', None),
    }
}

/// An action's lease or back-off, and its window.
fn spans_of(action: &Settle) -> (Duration, Duration) {
    match action {
        Settle::Complete { window, .. } | Settle::Bury { window, .. } | Settle::Redrive { window } => {
            (Duration::ZERO, *window)
        }
        Settle::Release { window, not_before, .. } => (*not_before, *window),
        Settle::Extend { lease, window } => (*lease, *window),
    }
}

/// The size in bytes of the text that a settlement keeps beside its row.
pub(crate) fn body_len(action: &Settle) -> usize {
    words(action).1.map_or(0, <[u8]>::len)
}

impl Request for Settlement {
    type Answer = Settled;

    fn size(&self) -> usize {
        64 + body_len(&self.action)
    }

    fn script() -> &'static Script {
        &SETTLE
    }

    fn tag(&self) -> u16 {
        tag(&self.key)
    }

    fn field(&self, secret: &Secret) -> Field {
        field(secret, &self.key)
    }

    fn name(&self) -> String {
        format!("{:?}", self.key)
    }

    fn encode(&self, before: Option<&Self>, secret: &Secret, out: &mut Vec<u8>) {
        let spans = spans_of(&self.action);
        let has_spans = before.is_none_or(|b| spans_of(&b.action) != spans);
        let (action, body) = words(&self.action);
        out.extend_from_slice(&self.field(secret));
        out.extend_from_slice(&self.fence.to_be_bytes());
        out.extend_from_slice(&self.token.0);
        out.push(action);
        out.push(parts(has_spans, body.is_some()));
        if has_spans {
            span(out, spans.0);
            span(out, spans.1);
        }
        if let Some(body) = body {
            // At most MAX_VALUE_LEN, which was checked before.
            out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(body);
        }
    }

    fn decode(&self, word: u8, _: &mut Reply<'_>) -> Result<Settled> {
        match word {
            b'Y' => Ok(Settled::Yes),
            b'L' => Ok(Settled::Lost),
            _ => Err(unknown_word(word)),
        }
    }
}

/// The inspection or repair of one record.
#[derive(Debug)]
pub(crate) struct Look<'k> {
    pub(crate) at: At<'k>,
    /// `G` get, `F` forget, `R` redrive.
    pub(crate) what: u8,
}

/// The name of a record.
#[derive(Debug)]
pub(crate) enum At<'k> {
    Key(&'k Key),
    /// By the name it was listed under.
    Listed(u16, Field),
}

/// The answer to an inspection or a repair.
#[derive(Debug)]
pub(crate) enum Seen {
    Record(Row, Record),
    /// A row of a form that this version does not know.
    Unreadable,
    AdminOutcome(AdminOutcome, Option<State>),
}

impl Request for Look<'_> {
    type Answer = Seen;

    fn script() -> &'static Script {
        &REPAIR
    }

    fn tag(&self) -> u16 {
        match &self.at {
            At::Key(key) => tag(key),
            At::Listed(tag, _) => *tag,
        }
    }

    fn field(&self, secret: &Secret) -> Field {
        match &self.at {
            At::Key(key) => field(secret, key),
            At::Listed(_, field) => *field,
        }
    }

    fn name(&self) -> String {
        match &self.at {
            At::Key(key) => format!("{key:?}"),
            At::Listed(..) => "a listed message".to_owned(),
        }
    }

    fn if_unreadable(&self) -> Option<Seen> {
        (self.what == b'G').then_some(Seen::Unreadable)
    }

    fn encode(&self, _: Option<&Self>, secret: &Secret, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.field(secret));
        out.push(self.what);
    }

    fn decode(&self, word: u8, reply: &mut Reply<'_>) -> Result<Seen> {
        Ok(match word {
            b'D' => {
                let (row, record) = record(reply)?;
                Seen::Record(row, record)
            }
            b'Y' => {
                let before = match reply.u8()? {
                    0 => State::Claimed,
                    1 => State::Released,
                    2 => State::Done,
                    _ => State::Buried,
                };
                Seen::AdminOutcome(AdminOutcome::Yes, Some(before))
            }
            b'N' => Seen::AdminOutcome(AdminOutcome::Nothing, None),
            b'I' => Seen::AdminOutcome(AdminOutcome::InFlight, None),
            _ => return Err(unknown_word(word)),
        })
    }
}
