//! A delivery on its way from claim to ack. Only a confirmed settle turns it into a [`Receipt`], and only
//! a receipt gives the delivery back for acknowledging.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::bury::BurialProof;
use crate::chain::chain;
use crate::claim::Token;
use crate::error::Error;
use crate::fingerprint::Fingerprint;
use crate::heartbeat::Grant;
use crate::inspect::Note;
use crate::key::Key;
use crate::observe::trace::RunSpan;
use crate::record::Record;

pub use crate::delivery::{Delivery, Stage};

/// A delivery with its identity, ready to be claimed.
#[derive(Debug)]
pub struct Job<D> {
    pub(crate) key: Key,
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) token: Token,
    pub(crate) dead_lettered: Option<Box<str>>,
    /// The number of failures in a row that count as no attempt: its dependency is down.
    pub(crate) failures: u32,
    /// While another delivery holds its message: the number of waits for that so far, and when they began.
    pub(crate) busy: Option<(u32, Instant)>,
    /// It may kill its worker, has no place to be buried in, and has waited before it runs again.
    pub(crate) paced: bool,
    /// It is a dead letter that has come back. Boxed, as all that is rare.
    pub(crate) letter: Option<Box<Returned>>,
    /// When it came.
    pub(crate) came: std::time::Instant,
    pub(crate) delivery: D,
}

/// A dead letter that has come back.
#[derive(Debug)]
pub(crate) struct Returned {
    pub(crate) proof: BurialProof,
    /// The operator who has published it again.
    pub(crate) note: Option<Note>,
    /// It was asked once whether it redrives its record.
    pub(crate) is_spent: bool,
}

impl<D> Job<D> {
    /// A delivery of the message `key`.
    #[must_use]
    pub fn new(key: Key, delivery: D) -> Self {
        Self {
            key,
            fingerprint: None,
            token: Token::random(),
            dead_lettered: None,
            failures: 0,
            busy: None,
            paced: false,
            letter: None,
            came: std::time::Instant::now(),
            delivery,
        }
    }

    /// The same, so that the same ID with another payload is noticed.
    #[must_use]
    pub fn with_fingerprint(mut self, fingerprint: Fingerprint) -> Self {
        self.fingerprint = Some(fingerprint);
        self
    }

    /// The same, to be buried with this reason instead of run (a message without an ID, say).
    #[must_use]
    pub fn dead_lettered(mut self, reason: impl Into<String>) -> Self {
        self.dead_lettered = Some(reason.into().into());
        self
    }

    /// The same, as a dead letter of this message that was published again. If the claim that `proof` names has buried the
    /// message last, its record is redriven, with the audit line, and it runs; else it is a delivery like any other.
    #[must_use]
    pub fn as_letter(mut self, proof: BurialProof) -> Self {
        self.letter = Some(Box::new(Returned { proof, note: None, is_spent: false }));
        self
    }

    /// The same, with the operator and the reason for the audit line of a [letter](Self::as_letter). Without them the
    /// line names the scope.
    #[must_use]
    pub fn redriven_by(mut self, note: Option<Note>) -> Self {
        if let Some(letter) = self.letter.as_mut() {
            letter.note = note;
        }
        self
    }

    /// True if it may redrive its record.
    pub(crate) fn is_letter(&self) -> bool {
        self.letter.as_ref().is_some_and(|letter| !letter.is_spent)
    }

    /// The number of returns of this message's letters, this one included.
    pub(crate) fn round(&self) -> u32 {
        self.letter.as_ref().map_or(0, |letter| letter.proof.round.saturating_add(1))
    }

    /// The message it is.
    #[must_use]
    pub fn key(&self) -> &Key {
        &self.key
    }

    /// The delivery, to look at.
    #[must_use]
    pub fn delivery(&self) -> &D {
        &self.delivery
    }

    /// The same delivery under a new token, for a new attempt.
    pub(crate) fn renewed(mut self) -> Self {
        self.token = Token::random();
        self
    }

    pub(crate) fn unsettled(self, why: Why) -> Unsettled<D> {
        Unsettled { delivery: self.delivery, why: Box::new(why) }
    }

    pub(crate) fn receipt(self, how: SettledAs) -> Receipt<D> {
        Receipt { delivery: self.delivery, how, record: None, came: self.came }
    }

    pub(crate) fn duplicate(self, record: Record) -> Receipt<D> {
        let how = SettledAs::Duplicate { age: record.age };
        Receipt { delivery: self.delivery, how, record: Some(Box::new(record)), came: self.came }
    }
}

/// A delivery whose claim was acquired: run it, then settle it.
#[derive(Debug)]
#[must_use = "a dropped ticket leaves its claim to the lease"]
pub(crate) struct Ticket<D> {
    pub(crate) job: Job<D>,
    pub(crate) lease: Arc<Grant>,
    /// When the claim was sent: the lease cannot end before this plus its length.
    pub(crate) claimed: Instant,
    /// The span of its run, if that is traced. Boxed, as all that is rare.
    pub(crate) span: Option<Box<RunSpan>>,
}

/// Proof that the store has settled this delivery's message, which makes acknowledging it right.
///
/// An ack without a confirmed settle does not compile. A receipt cannot be made:
/// ```compile_fail,E0451
/// let forged = ackonce::adapter::Receipt { delivery: 1, how: ackonce::adapter::SettledAs::Run, record: None, came: std::time::Instant::now() };
/// ```
/// and a job does not give its delivery away:
/// ```compile_fail,E0599
/// fn ack_too_early<D>(job: ackonce::adapter::Job<D>) -> D { job.redeem() }
/// ```
/// ```compile_fail,E0616
/// fn ack_too_early<D>(job: ackonce::adapter::Job<D>) -> D { job.delivery }
/// ```
/// A receipt is spent once:
/// ```compile_fail,E0382
/// fn ack_twice<D>(receipt: ackonce::adapter::Receipt<D>) -> (D, D) { (receipt.redeem(), receipt.redeem()) }
/// ```
/// ```
/// fn ack<D>(receipt: ackonce::adapter::Receipt<D>) -> D { receipt.redeem() }
/// ```
#[derive(Debug)]
#[must_use = "a receipt that is not redeemed leaves the delivery unacknowledged"]
pub struct Receipt<D> {
    pub(crate) delivery: D,
    pub(crate) how: SettledAs,
    pub(crate) record: Option<Box<Record>>,
    /// When it came.
    pub(crate) came: std::time::Instant,
}

impl<D> Receipt<D> {
    /// The way it came to be settled.
    #[must_use]
    pub fn how(&self) -> SettledAs {
        self.how
    }

    /// The store's record of the message, for a duplicate: its state, and its outcome to replay.
    #[must_use]
    pub fn record(&self) -> Option<&Record> {
        self.record.as_deref()
    }

    /// The delivery, to look at.
    #[must_use]
    pub fn delivery(&self) -> &D {
        &self.delivery
    }

    /// The delivery, to acknowledge.
    #[must_use]
    pub fn redeem(self) -> D {
        self.delivery
    }
}

/// The way a delivery came to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SettledAs {
    /// Its handler ran, now.
    Run,
    /// An earlier delivery had settled it.
    Duplicate {
        /// The time since that one was claimed.
        age: Duration,
    },
    /// It was not run, now: a newer version of its entity took effect ([`Newest`](crate::Newest)).
    Stale,
    /// It was buried, now.
    Buried,
}

/// A delivery that is not settled: it must not be acknowledged.
#[must_use = "an unsettled delivery must be left to, or handed back to, the broker"]
pub struct Unsettled<D> {
    pub(crate) delivery: D,
    why: Box<Why>,
}

/// Why a delivery was not settled.
#[derive(Debug, Clone)]
pub enum Why {
    /// The runner was stopped first.
    Stopped,
    /// Its partition was revoked or its channel closed first.
    NotCurrent,
    /// The store refuses for good, or [`OnMismatch::Fail`](crate::OnMismatch::Fail) says to stop: the consumer ends.
    Fatal(Error),
    /// Somebody else held the message for longer than [`Settings::busy_timeout`](crate::Settings::busy_timeout).
    Busy {
        /// When their lease ends if they do nothing more.
        free_in: Duration,
    },
    /// The same ID came before with another payload, under
    /// [`OnMismatch::HandBack`](crate::OnMismatch::HandBack).
    Mismatch,
    /// Its handler failed, under [`OnFailure::HandBack`](crate::OnFailure::HandBack); the claim is released.
    Failed {
        /// The handler's reason.
        reason: String,
        /// Which attempt it was.
        attempt: u32,
        /// True if the message is not to blame ([`Failure::Infrastructure`](crate::Failure)): the attempt was not
        /// counted, so a redelivery comes with the same number.
        infrastructure: bool,
    },
    /// The store did not answer for [`Settings::store_timeout`](crate::Settings::store_timeout); the handler did not run.
    Unavailable(Error),
    /// The handler succeeded, and the store did not answer for [`Settings::store_timeout`](crate::Settings::store_timeout): a
    /// redelivery may run it again.
    NotRecorded(Error),
}

impl<D> Unsettled<D> {
    /// The delivery, to look at or to hand back.
    #[must_use]
    pub fn delivery(&self) -> &D {
        &self.delivery
    }

    /// Why it was not settled.
    #[must_use]
    pub fn why(&self) -> &Why {
        &self.why
    }
}

impl<D> fmt::Debug for Unsettled<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsettled").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<D> fmt::Display for Unsettled<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not settled, not to be acknowledged: ")?;
        match &*self.why {
            Why::Stopped => f.write_str("the runner was stopped"),
            Why::NotCurrent => f.write_str("the delivery was taken back"),
            Why::Busy { free_in } => write!(f, "somebody else holds the message, for {free_in:?} at most"),
            Why::Mismatch => f.write_str("the same message ID came before with another payload"),
            Why::Failed { reason, attempt, .. } => write!(f, "attempt {attempt} failed: {reason}"),
            Why::NotRecorded(error) => {
                write!(f, "the handler succeeded and could not be recorded: {}", chain(error))
            }
            Why::Fatal(error) | Why::Unavailable(error) => chain(error).fmt(f),
        }
    }
}

impl<D> std::error::Error for Unsettled<D> {}
