//! A call of a store and its answer, in a form that crosses a pipe. Times are microseconds.

use std::time::Duration;

use ackonce::protocol::Row;
use ackonce::store::{
    AdminOutcome, Attempt, ClaimRequest, Claimed, Entry, Fingerprint, Record, Settle, Settlement, State,
    Token,
};
use ackonce::{Key, Scope};
use serde::{Deserialize, Serialize};

/// Few, so that claims meet.
pub(super) const KEYS: u8 = 3;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Call {
    Claim(Vec<Ask>),
    Settle(Vec<Act>),
    Tend(Tend),
    /// All keys of the history.
    Look,
    List,
    Sweep,
}

/// A claim by one of a few attempts.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Ask {
    pub(super) key: u8,
    pub(super) attempt: u8,
    pub(super) lease: u64,
    pub(super) window: u64,
    pub(super) print: Option<u8>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Act {
    pub(super) key: u8,
    pub(super) attempt: u8,
    pub(super) fence: u64,
    pub(super) action: Action,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum Action {
    Complete { window: u64, outcome: Option<Vec<u8>> },
    Release { counts: bool, window: u64, not_before: u64 },
    Extend { lease: u64, window: u64 },
    Bury { window: u64 },
    Save { length: u8 },
    Redrive { window: u64 },
}

/// A change by hand: of the key's record, or of the record as it was shown.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Tend {
    pub(super) key: u8,
    pub(super) shown: Option<Shown>,
    pub(super) redrive: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Answer {
    Claimed(Vec<Granted>),
    /// True where it is so.
    Settled(Vec<bool>),
    Tended(Tended),
    Looked(Vec<Option<Shown>>),
    Listed(Vec<Shown>),
    Swept,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Granted {
    Acquired { fence: u64, attempt: u32, previous: String, progress: Option<Vec<u8>> },
    Done(Shape),
    Busy { free_in: u64 },
    Mismatch(Shape),
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) enum Tended {
    Yes,
    Nothing,
    InFlight,
}

/// A listed record, and the store's name for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) digest: Vec<u8>,
    pub(super) record: Shape,
}

/// A record without its age, which is of the store's clock.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Shape {
    pub(super) state: String,
    pub(super) fence: u64,
    attempt: u32,
    fingerprint: Option<[u8; 16]>,
    outcome: Option<Vec<u8>>,
    progress: Option<Vec<u8>>,
    reason: Option<String>,
}

impl Shape {
    /// The record of a row that lives at `now`.
    pub(super) fn of_row(row: Option<&Row>, now: u64) -> Option<Self> {
        row.filter(|row| now < row.expires).map(|row| Self::from(row.record(now)))
    }
}

impl From<Record> for Shape {
    fn from(record: Record) -> Self {
        Self {
            state: record.state.as_str().to_owned(),
            fence: record.fence,
            attempt: record.attempt,
            fingerprint: record.fingerprint.map(|print| print.0),
            outcome: record.outcome.map(Vec::from),
            progress: record.progress.map(Vec::from),
            reason: record.reason,
        }
    }
}

impl From<Entry> for Shown {
    fn from(entry: Entry) -> Self {
        Self { digest: entry.digest.to_vec(), record: entry.record.into() }
    }
}

impl Shown {
    /// Enough of the listed record to name it again.
    pub(super) fn entry(&self) -> Option<Entry> {
        let record = Record {
            state: State::from_name(&self.record.state)?,
            fence: self.record.fence,
            attempt: self.record.attempt,
            fingerprint: None,
            outcome: None,
            progress: None,
            reason: None,
            age: Duration::ZERO,
        };
        let (expires_in, free_in) = (Duration::ZERO, Duration::ZERO);
        Some(Entry { digest: self.digest.clone().into(), scope: None, id: None, record, expires_in, free_in })
    }
}

impl From<Claimed> for Granted {
    fn from(answer: Claimed) -> Self {
        match answer {
            Claimed::Acquired(lease) => Self::Acquired {
                fence: lease.fence,
                attempt: lease.attempt,
                previous: format!("{:?}", lease.previous),
                progress: lease.progress.map(Vec::from),
            },
            Claimed::Done(record) => Self::Done(record.into()),
            Claimed::Busy { free_in } => Self::Busy { free_in: micros(free_in) },
            Claimed::Mismatch(record) => Self::Mismatch(record.into()),
        }
    }
}

impl From<AdminOutcome> for Tended {
    fn from(outcome: AdminOutcome) -> Self {
        match outcome {
            AdminOutcome::Yes => Self::Yes,
            AdminOutcome::Nothing => Self::Nothing,
            AdminOutcome::InFlight => Self::InFlight,
        }
    }
}

impl Ask {
    pub(super) fn request(&self, scope: &Scope) -> ClaimRequest {
        ClaimRequest {
            key: key(scope, self.key),
            token: token(self.attempt),
            lease: span(self.lease),
            window: span(self.window),
            // A store may keep 8 bytes; the rest of these is zeros.
            fingerprint: self.print.map(|n| Fingerprint([n, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0])),
        }
    }
}

impl Act {
    pub(super) fn settlement(&self, scope: &Scope) -> Settlement {
        let action = self.action.settle();
        Settlement { key: key(scope, self.key), token: token(self.attempt), fence: self.fence, action }
    }
}

impl Action {
    fn settle(&self) -> Settle {
        match self {
            Self::Complete { window, outcome } => {
                Settle::Complete { window: span(*window), outcome: outcome.clone().map(Into::into) }
            }
            Self::Release { counts, window, not_before } => {
                let attempt = if *counts { Attempt::Counts } else { Attempt::Refunded };
                Settle::Release { attempt, window: span(*window), not_before: span(*not_before) }
            }
            Self::Extend { lease, window } => Settle::Extend { lease: span(*lease), window: span(*window) },
            Self::Bury { window } => Settle::Bury { window: span(*window), reason: "no use\u{7f}".into() },
            Self::Save { length } => Settle::Save { progress: vec![*length; usize::from(*length)].into() },
            Self::Redrive { window } => Settle::Redrive { window: span(*window) },
        }
    }
}

pub(super) fn key(scope: &Scope, n: u8) -> Key {
    scope.key(format!("key {n}")).unwrap_or_else(|e| panic!("the suite made a bad key: {e}"))
}

fn token(attempt: u8) -> Token {
    Token([attempt + 1; 16])
}

fn span(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
