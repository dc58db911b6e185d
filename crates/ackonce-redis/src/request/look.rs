//! The inspection and the repair of one record.

use ackonce::store::{AdminOutcome, Record, State};
use ackonce::{Key, Result};

use super::{Request, record, unknown_word};
use crate::records::{Field, REPAIR, Reply, Row, Script, Secret, field, tag};

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
    /// The server's clock, the row and the record.
    Record(u64, Row, Record),
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
                Seen::Record(reply.now, row, record)
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
