//! What a store remembers of a key.

use std::time::Duration;

use bytes::Bytes;

use crate::Fingerprint;

/// What a store remembers of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where the key stands.
    pub state: State,
    /// The fence of its last claim.
    pub fence: u64,
    /// How many attempts were counted.
    pub attempt: u32,
    /// What the payload was, if the claim said; a store may keep a prefix and pad it with zeros.
    pub fingerprint: Option<Fingerprint>,
    /// What the handler returned, if it was kept.
    pub outcome: Option<Bytes>,
    /// Why it was buried.
    pub reason: Option<String>,
    /// How long ago it was last claimed, by the store's clock.
    pub age: Duration,
}

/// Where a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Claimed; the lease may have ended.
    Claimed,
    /// Handed back; the next claim is granted, once its back-off is over.
    Released,
    /// Its effect happened.
    Done,
    /// It will never succeed; settled, with a reason.
    Buried,
}

impl State {
    /// The word used in logs, metrics and tables.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Released => "released",
            Self::Done => "done",
            Self::Buried => "buried",
        }
    }
}
