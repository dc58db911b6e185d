//! The requests to the scripts and their answers, in the byte formats that `records/lua/*.lua` define.

mod batch;
mod claim;
mod look;
mod refusal;
mod settle;

use std::time::Duration;

use ackonce::Result;
use ackonce::store::{Names, Record};
use bytes::Bytes;

use crate::records::{Field, Reply, Row, Script, Secret, misread};

pub(crate) use look::{Ask, At, Change, Look, Seen};
pub(crate) use refusal::{bad_keys, is_refusal, stand_in};

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
    fn encode(&self, before: Option<&Self>, secret: &Secret, names: Names, out: &mut Vec<u8>);

    fn decode(&self, word: u8, reply: &mut Reply<'_>) -> Result<Self::Answer>;
}

fn span(out: &mut Vec<u8>, span: Duration) {
    let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX).min(EVER);
    out.extend_from_slice(&micros.to_be_bytes()[1..]);
}

/// The optional parts of a request that follow: spans, if they differ from those before, a fingerprint or body, and
/// names.
fn parts(spans: bool, rest: bool, names: bool) -> u8 {
    u8::from(spans) + 2 * u8::from(rest) + 4 * u8::from(names)
}

/// A text with its length before it; a longer one than fits is cut.
fn short(out: &mut Vec<u8>, text: &[u8]) {
    let length = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&text[..usize::from(length)]);
}

fn unknown_word(word: u8) -> ackonce::Error {
    misread(&format!("`{}` is not an answer", word.escape_ascii()))
}

/// A row with its record.
fn record(reply: &mut Reply<'_>) -> Result<(Row, Record)> {
    let row = Row::read(reply)?.ok_or_else(|| misread("an answer has no row"))?;
    let body = body(reply)?;
    let record = row.clone().record(reply.now, body);
    Ok((row, record))
}

/// The text beside a row, after its length plus one; zero for none.
fn body(reply: &mut Reply<'_>) -> Result<Option<Bytes>> {
    Ok(match reply.u32()? {
        0 => None,
        n => Some(Bytes::copy_from_slice(reply.bytes(usize::try_from(n - 1).unwrap_or(usize::MAX))?)),
    })
}
