//! The inspection and the repair of one record.

use std::time::Duration;

use ackonce::adapter::cut;
use ackonce::store::{AdminOutcome, AuditEntry, Names, Note, Record, State};
use ackonce::{Key, Result};

use super::{Request, record, short, unknown_word};
use crate::records::{
    Field, REPAIR, Reply, Row, Script, Secret, field, kept, misread, state_code, state_of, tag,
};

/// The most bytes of an author and of a reason that are kept.
const ACTOR: usize = 256;
const REASON: usize = 4096;

/// The inspection or repair of one record.
#[derive(Debug)]
pub(crate) struct Look<'k> {
    pub(crate) at: At<'k>,
    pub(crate) ask: Ask<'k>,
}

/// The question about a record, or its change.
#[derive(Debug)]
pub(crate) enum Ask<'k> {
    Get,
    Changes,
    Forget(Change<'k>),
    Redrive(Change<'k>),
}

/// A change by hand.
#[derive(Debug)]
pub(crate) struct Change<'k> {
    /// The state and the fence that the record must still have.
    pub(crate) still: Option<(State, u64)>,
    pub(crate) note: &'k Note,
}

impl Ask<'_> {
    fn word(&self) -> u8 {
        match self {
            Self::Get => b'G',
            Self::Changes => b'A',
            Self::Forget(_) => b'F',
            Self::Redrive(_) => b'R',
        }
    }
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
    /// The server's clock, the row and the record.
    Record(u64, Row, Record),
    /// A row of a form that this version does not know.
    Unreadable,
    AdminOutcome(AdminOutcome, Option<State>),
    Changes(Vec<AuditEntry>),
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
        matches!(self.ask, Ask::Get).then_some(Seen::Unreadable)
    }

    fn encode(&self, _: Option<&Self>, secret: &Secret, names: Names, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.field(secret));
        out.push(self.ask.word());
        if let Ask::Forget(change) | Ask::Redrive(change) = &self.ask {
            let (state, fence) =
                change.still.map_or((u8::MAX, 0), |(state, fence)| (state_code(state), fence));
            out.push(state);
            out.extend_from_slice(&fence.to_be_bytes());
            let known = match &self.at {
                At::Key(key) if names != Names::Omit => kept(key),
                At::Key(_) | At::Listed(..) => Vec::new(),
            };
            short(out, &known);
            short(out, cut(&change.note.actor, ACTOR).as_bytes());
            short(out, cut(&change.note.reason, REASON).as_bytes());
        }
    }

    fn decode(&self, word: u8, reply: &mut Reply<'_>) -> Result<Seen> {
        Ok(match word {
            b'D' => {
                let (row, record) = record(reply)?;
                Seen::Record(reply.now, row, record)
            }
            b'Y' => {
                let before = state_of(reply.u8()?);
                Seen::AdminOutcome(AdminOutcome::Yes, Some(before))
            }
            b'N' => Seen::AdminOutcome(AdminOutcome::Nothing, None),
            b'H' => Seen::Changes(changes(reply)?),
            b'I' => Seen::AdminOutcome(AdminOutcome::InFlight, None),
            _ => return Err(unknown_word(word)),
        })
    }
}

/// The changes of a record, the newest last.
fn changes(reply: &mut Reply<'_>) -> Result<Vec<AuditEntry>> {
    let count = u16::from_be_bytes(reply.array()?);
    let change = |reply: &mut Reply<'_>| {
        let length = usize::from(u16::from_be_bytes(reply.array()?));
        let text = reply.bytes(length)?;
        entry(text, reply.now).ok_or_else(|| misread("a change by hand has another form"))
    };
    let mut changes = (0..count).map(|_| change(reply)).collect::<Result<Vec<_>>>()?;
    changes.sort_by_key(|change| std::cmp::Reverse(change.age));
    Ok(changes)
}

/// moment 7 | operation 1 | state before 1 | length 2 | author | reason
fn entry(text: &[u8], now: u64) -> Option<AuditEntry> {
    let (moment, rest) = text.split_first_chunk::<7>()?;
    let ([operation, before, length @ ..], rest) = rest.split_first_chunk::<4>()?;
    let (actor, reason) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let mut at = [0; 8];
    at[1..].copy_from_slice(moment);
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    Some(AuditEntry {
        operation: if *operation == b'F' { "forget" } else { "redrive" }.to_owned(),
        actor: text(actor),
        reason: text(reason),
        before: state_of(*before),
        age: Duration::from_micros(now.saturating_sub(u64::from_be_bytes(at))),
    })
}
