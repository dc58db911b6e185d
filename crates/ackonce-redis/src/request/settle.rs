//! Settlements.

use std::time::Duration;

use ackonce::Result;
use ackonce::store::{Attempt, Names, Settle, Settled, Settlement};

use super::{Request, parts, short, span, unknown_word};
use crate::records::{Field, Reply, SETTLE, Script, Secret, field, kept, tag};

/// The script's word for an action, and the text to keep beside the row.
fn words(action: &Settle) -> (u8, Option<&[u8]>) {
    match action {
        Settle::Complete { outcome: None, .. } => (b'C', None),
        Settle::Complete { outcome: Some(outcome), .. } => (b'O', Some(outcome)),
        Settle::Bury { reason, .. } => (b'X', Some(reason.as_bytes())),
        Settle::Release { attempt: Attempt::Counts, .. } => (b'R', None),
        Settle::Release { attempt: Attempt::Refunded, .. } => (b'F', None),
        Settle::Extend { .. } => (b'E', None),
        Settle::Save { progress } => (b'P', Some(progress)),
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
        Settle::Save { .. } => (Duration::ZERO, Duration::ZERO),
    }
}

/// The size in bytes of the text that a settlement keeps beside its row.
fn body_len(action: &Settle) -> usize {
    words(action).1.map_or(0, <[u8]>::len)
}

impl Request for Settlement {
    type Answer = Settled;

    fn size(&self) -> usize {
        64 + body_len(&self.action) + self.key.scope().name().len() + self.key.id().len()
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

    fn encode(&self, before: Option<&Self>, secret: &Secret, names: Names, out: &mut Vec<u8>) {
        let spans = spans_of(&self.action);
        let has_spans = before.is_none_or(|b| spans_of(&b.action) != spans);
        let (action, body) = words(&self.action);
        out.extend_from_slice(&self.field(secret));
        out.extend_from_slice(&self.fence.to_be_bytes());
        out.extend_from_slice(&self.token.0);
        out.push(action);
        // A completion takes a record out of the index, or leaves it there with its names; a save leaves it as it is.
        let has_names =
            names != Names::Omit && !matches!(self.action, Settle::Complete { .. } | Settle::Save { .. });
        out.push(parts(has_spans, body.is_some(), has_names));
        if has_spans {
            span(out, spans.0);
            span(out, spans.1);
        }
        if let Some(body) = body {
            // At most MAX_VALUE_LEN, which was checked before.
            out.extend_from_slice(&u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
            out.extend_from_slice(body);
        }
        if has_names {
            short(out, &kept(&self.key));
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
