//! The dead-letter place: where a message that will never succeed goes once, with its reason.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;

use crate::chain::chain;
use crate::claim::{Lease, Token};
use crate::error::BoxError;
use crate::key::Key;
use crate::settle::{Settle, Settlement};

/// Why and when a message was given up.
#[derive(Debug, Clone)]
pub struct Burial {
    /// Scope and message ID.
    pub key: Key,
    /// The reason, in a line.
    pub reason: String,
    /// Attempts counted, the last one included; 0 for a message that never had one.
    pub attempts: u32,
    /// To be written on a letter that holds the whole payload, as text: published again, it redrives its record.
    pub proof: BurialProof,
}

/// The claim that has buried a message. A dead letter carries it, and proves by it that it is the letter of the record's
/// last burial when it is published again: [`Job::as_letter`](crate::adapter::Job::as_letter). As text it is
/// `<token>-<fence>-<round>`.
///
/// ```
/// use ackonce::adapter::BurialProof;
///
/// // A dead letter that is published again carries the proof in a header.
/// let header = "0000000000000000000000000000002a-1764500000000000-0";
/// let proof: BurialProof = header.parse()?;
/// assert_eq!(proof.to_string(), header);
/// assert!("somebody else's header".parse::<BurialProof>().is_err());
/// # Ok::<(), ackonce::adapter::NoProof>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BurialProof {
    token: Token,
    fence: u64,
    /// The number of earlier returns of the message's letters: a letter that goes in circles comes ever more slowly.
    pub(crate) round: u32,
}

impl BurialProof {
    pub(crate) fn of(lease: &Lease, round: u32) -> Self {
        Self { token: lease.token, fence: lease.fence, round }
    }

    /// The fence of the claim that has buried the message: microseconds since the Unix epoch by the store's clock, or one
    /// more than the fence before.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// The settlement that redrives the record of `key`, if this claim has buried it.
    #[must_use]
    pub fn redrive(&self, key: Key, window: std::time::Duration) -> Settlement {
        Settlement { key, token: self.token, fence: self.fence, action: Settle::Redrive { window } }
    }
}

impl fmt::Display for BurialProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}-{}-{}", u128::from_be_bytes(self.token.0), self.fence, self.round)
    }
}

/// The text was not written by [`Display`](fmt::Display) of a [`BurialProof`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not the proof of a burial")]
pub struct NoProof;

impl FromStr for BurialProof {
    type Err = NoProof;

    fn from_str(text: &str) -> Result<Self, NoProof> {
        let mut parts = text.split('-');
        let (Some(token), Some(fence), Some(round), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoProof);
        };
        let token = u128::from_str_radix(token, 16).map_err(|_| NoProof)?;
        Ok(Self {
            token: Token(token.to_be_bytes()),
            fence: fence.parse().map_err(|_| NoProof)?,
            round: round.parse().map_err(|_| NoProof)?,
        })
    }
}

/// The dead-letter place of one adapter.
///
/// The runner asks it before the store records the burial and before the ack. A crash in between repeats the burial,
/// so a dead letter may appear twice, with the same scope and message ID in its headers; it is never missing. A
/// burial holds no handler slot.
///
/// ```
/// use std::io::Write;
/// use std::sync::Mutex;
/// use ackonce::adapter::{Burial, BuryError, Graveyard, Letter};
/// use async_trait::async_trait;
///
/// /// Dead letters as lines of a file, with the reason beside the message.
/// struct Letters(Mutex<std::fs::File>);
///
/// #[async_trait]
/// impl Graveyard<String> for Letters {
///     async fn bury(&self, message: &String, burial: &Burial) -> Result<Letter, BuryError> {
///         let Ok(mut file) = self.0.lock() else { return Err(BuryError::Retry("poisoned".into())) };
///         writeln!(file, "{:?}\t{}\t{message:?}", burial.key, burial.reason)?;
///         // Confirmed means that a power cut does not take it back.
///         file.sync_data()?;
///         Ok(Letter::Whole)
///     }
/// }
/// ```
#[async_trait]
pub trait Graveyard<D>: Send + Sync {
    /// Puts the message there and waits for the confirmation.
    ///
    /// # Errors
    /// [`BuryError::Retry`]: the letter may not be there; the runner backs off and asks again, and nothing is
    /// acknowledged. [`BuryError::Never`]: this message can never be put there; the runner records the burial in the
    /// store alone, with the reason, and counts it.
    async fn bury(&self, delivery: &D, burial: &Burial) -> Result<Letter, BuryError>;

    /// True if there is a place at all. Without one, nothing is buried for a failure that may pass; see
    /// [`NoDeadLetters`]. True by default.
    fn is_place(&self) -> bool {
        true
    }

    /// Its name in traces: a topic, an exchange. Empty by default.
    fn name(&self) -> &str {
        ""
    }
}

/// The extent of a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter {
    /// The whole message.
    Whole,
    /// A part of it, because the place does not take the whole; the text names the parts left out.
    Reduced(String),
}

/// Why a dead letter was not put in its place.
#[derive(Debug)]
pub enum BuryError {
    /// The place does not answer or refuses for now.
    Retry(BoxError),
    /// The place will never take this message, not even a reduced letter of it.
    Never(BoxError),
}

/// Any error is one to retry; [`BuryError::Never`] has to be said.
impl<E: Into<BoxError>> From<E> for BuryError {
    fn from(error: E) -> Self {
        Self::Retry(error.into())
    }
}

impl fmt::Display for BuryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(error) => write!(f, "the dead letter was not confirmed: {}", chain(&**error)),
            Self::Never(error) => {
                write!(f, "the dead-letter place will never take this message: {}", chain(&**error))
            }
        }
    }
}

/// No dead-letter place was chosen; the default. A message's payload would be given up with it, so it is not buried for
/// a failure that may pass:
///
/// | event | answer |
/// |---|---|
/// | [`Failure::Retry`](crate::Failure::Retry) and unknown outcomes, [`Settings::attempts`](crate::Settings::attempts) used up | retried at the longest back-off for as long as it takes, with a warning and the count `past_attempts` |
/// | [`Failure::Permanent`](crate::Failure::Permanent), [`OnUnknown::Park`](crate::OnUnknown::Park), a probe that cannot tell | buried, for the code says so: the record keeps the reason, the payload is given up; an error in the log, counted as `buried_without_letter` |
/// | it may be a message that kills its process | run again alone, once per longest back-off |
/// | the same ID with another payload, under [`OnMismatch::Bury`](crate::OnMismatch::Bury) | the consumer ends with an error |
/// | a claim that the store can never take | the consumer ends with the store's error |
///
/// [`RecordOnly`] is for those who would rather give a message up.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDeadLetters;

#[async_trait]
impl<D: Sync> Graveyard<D> for NoDeadLetters {
    async fn bury(&self, _: &D, _: &Burial) -> Result<Letter, BuryError> {
        Err(BuryError::Never("there is no dead-letter place".into()))
    }

    fn is_place(&self) -> bool {
        false
    }
}

/// Gives buried messages up: the reason is kept in the store's record and in the log, the payload nowhere. Chosen by
/// those whose payloads exist elsewhere, or are not worth keeping.
///
/// ```
/// use std::sync::Arc;
/// use ackonce::{Context, Failure, MemoryStore, Runner, Scope, Settings};
/// use ackonce::adapter::{Delivery, RecordOnly};
///
/// struct Reading(f64);
/// impl Delivery for Reading {
///     type Message = f64;
///     fn message(&self) -> f64 {
///         self.0
///     }
/// }
///
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// let handler = |_cx: Context, _celsius: f64| async { Ok::<(), Failure>(()) };
/// let settings = Settings::default().with_attempts(3);
/// // A lost reading is followed by the next one: it is not worth a dead letter.
/// let (store, scope) = (Arc::new(MemoryStore::new()), Scope::new("sensors")?);
/// let runner: Runner<Reading, _> = Runner::with(store, &scope, handler, settings, Arc::new(RecordOnly))?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct RecordOnly;

#[async_trait]
impl<D: Sync> Graveyard<D> for RecordOnly {
    async fn bury(&self, _: &D, _: &Burial) -> Result<Letter, BuryError> {
        Ok(Letter::Whole)
    }
}
