//! Asking to be the one who runs a message: the request and its four answers.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;

use crate::fingerprint::Fingerprint;
use crate::key::Key;
use crate::record::Record;

/// 128 random bits that name one attempt, so that a lost reply is not mistaken for a rival.
///
/// A claim repeated with the same token is answered as the first time. A new attempt takes a new token.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub [u8; 16]);

impl Token {
    /// A token nobody else has.
    #[must_use]
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({:032x})", u128::from_be_bytes(self.0))
    }
}

/// One request to run one message.
///
/// It carries lengths of time and never a moment, so no clock but the store's can enter.
#[derive(Debug, Clone)]
pub struct ClaimRequest {
    /// The message.
    pub key: Key,
    /// The attempt.
    pub token: Token,
    /// The length of the lease without a heartbeat, by the store's clock.
    pub lease: Duration,
    /// The time after the lease for which the trail of an unfinished attempt (fence, attempts) is kept.
    pub window: Duration,
    /// The payload's fingerprint, where a changed payload should be noticed.
    pub fingerprint: Option<Fingerprint>,
}

/// The answer to a claim. Exhaustive on purpose: a new answer must break every adapter.
///
/// ```
/// use std::time::Duration;
/// use ackonce::{MemoryStore, Scope};
/// use ackonce::store::{ClaimRequest, Claimed, DeduplicatorExt, Settle, Settlement, Token};
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let store = MemoryStore::new();
/// let (lease, window) = (Duration::from_secs(30), Duration::from_secs(7 * 24 * 3600));
/// let key = Scope::new("billing/charge")?.key("evt_1")?;
/// let request = || ClaimRequest { key: key.clone(), token: Token::random(), lease, window, fingerprint: None };
///
/// let Claimed::Acquired(lease) = store.claim_one(request()).await? else { panic!("it is new") };
/// assert!(matches!(store.claim_one(request()).await?, Claimed::Busy { .. }));      // a copy: never acknowledged
/// store.settle_one(Settlement::new(&lease, Settle::Complete { window, outcome: None })).await?;
/// assert!(matches!(store.claim_one(request()).await?, Claimed::Done(_)));          // a copy: acknowledged
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// Yours to run. Nothing is told to the broker yet.
    Acquired(Lease),
    /// Done or buried before: do not run it, acknowledge it.
    Done(Record),
    /// Someone holds a live lease: do not run it, **never acknowledge it**, claim again later.
    Busy {
        /// When the lease ends if its holder does nothing more.
        free_in: Duration,
    },
    /// The same ID with another payload; the record is that of the first one.
    Mismatch(Record),
}

/// An acquired claim: the proof that a settle carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The message.
    pub key: Key,
    /// The attempt that acquired it.
    pub token: Token,
    /// A number that grows with every claim of this key, also across its window: the store's clock
    /// in microseconds, or one more than the last fence where that is larger.
    pub fence: u64,
    /// Which attempt this is, counted by the store when it granted the claim, from 1.
    pub attempt: u32,
    /// The end of the attempt before this one.
    pub previous: Previous,
    /// The progress that earlier attempts saved: [`Settle::Save`](crate::store::Settle::Save).
    pub progress: Option<Bytes>,
}

/// The end of the attempt before this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Previous {
    /// There was none.
    None,
    /// It was released: its handler failed, or it was handed back.
    Released,
    /// It ended without a word: its worker died, stalled past its lease or lost the store. Its effect
    /// may have happened.
    Vanished,
}
