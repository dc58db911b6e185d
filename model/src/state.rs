//! One situation: the records, the workers, the requests on their way, and the faults that are still to come.

use ackonce::Previous;
use ackonce::store::State as RecordState;

use crate::worker::{How, Worker};

/// A situation of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    /// The messages with their records.
    pub messages: Vec<Message>,
    /// The workers.
    pub workers: Vec<Worker>,
    /// Requests that arrive later, though their sender has sent them again or is gone.
    pub late: Vec<Request>,
    /// Workers that may still die.
    pub crashes: u8,
    /// Replies that may still be lost.
    pub lost_replies: u8,
    /// Requests that may still be late.
    pub delays: u8,
    /// Deliveries that may still come after the acknowledgement.
    pub duplicates: u8,
    /// The promise that the last step broke.
    pub broken: Option<Broken>,
}

/// A message, its record, and the truth about it that no worker sees.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// The record in the store.
    pub record: Option<Held>,
    /// It has taken effect, once or more.
    pub effect: bool,
    /// It took effect under the claim that the record still names, and no claim since was told that it may have.
    pub unreported: bool,
    /// The broker has forgotten it.
    pub acked: bool,
    /// The highest fence that was granted.
    pub fence: u16,
    /// The token whose completion or burial was confirmed.
    pub settled_by: Option<u8>,
    /// It was given up, with a reason.
    pub buried: bool,
    /// A step of it was confirmed as finished.
    pub saved: bool,
}

/// A record, with lengths of time in ticks from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Held {
    /// The state, as the store stores it.
    pub state: Phase,
    /// The token of the last claim.
    pub token: u8,
    /// The rank of the last claim's fence.
    pub fence: u16,
    /// Attempts counted, up to one more than the limit.
    pub attempt: u8,
    /// The end of the attempt before.
    pub previous: Ended,
    /// It has progress: a step has finished.
    pub saved: bool,
    /// Ticks until the next claim may be granted.
    pub free_in: u8,
    /// Ticks until the record means nothing; `None` if its window outlasts the exploration.
    pub expires_in: Option<u8>,
}

/// [`RecordState`], ordered and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names of the original")]
pub enum Phase {
    Claimed,
    Released,
    Done,
    Buried,
}

/// [`Previous`], ordered and hashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names of the original")]
pub enum Ended {
    None,
    Released,
    Vanished,
}

/// A request to the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// A claim of a message under a token.
    Claim {
        /// The message.
        message: usize,
        /// The attempt.
        token: u8,
    },
    /// A settlement of that claim.
    Settle {
        /// The message.
        message: usize,
        /// The attempt.
        token: u8,
        /// The rank of its fence.
        fence: u16,
        /// The change.
        how: How,
    },
}

/// A broken promise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Broken {
    /// A message was acknowledged that neither took effect nor was buried.
    Lost,
    /// A claim was granted while somebody else's lease lived, or before the end of a back-off.
    GrantedTwice,
    /// A claim was granted under a fence that is not above all fences before.
    FenceReused,
    /// A claim was granted after an effect, and does not say that the attempt before may have had one.
    EffectHidden,
    /// Two claims of one message were both confirmed as settled, within the window.
    SettledTwice,
    /// A claim was granted for a message that is settled, within the window.
    RanAfterSettled,
    /// A claim was granted without the step that was confirmed as finished before, or with one that was not.
    StepForgotten,
    /// A step was confirmed as finished under a claim that was taken over.
    StepByOldClaim,
}

impl From<RecordState> for Phase {
    fn from(state: RecordState) -> Self {
        match state {
            RecordState::Claimed => Self::Claimed,
            RecordState::Released => Self::Released,
            RecordState::Done => Self::Done,
            RecordState::Buried => Self::Buried,
        }
    }
}

impl From<Phase> for RecordState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Claimed => Self::Claimed,
            Phase::Released => Self::Released,
            Phase::Done => Self::Done,
            Phase::Buried => Self::Buried,
        }
    }
}

impl From<Previous> for Ended {
    fn from(previous: Previous) -> Self {
        match previous {
            Previous::None => Self::None,
            Previous::Released => Self::Released,
            Previous::Vanished => Self::Vanished,
        }
    }
}

impl From<Ended> for Previous {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::None => Self::None,
            Ended::Released => Self::Released,
            Ended::Vanished => Self::Vanished,
        }
    }
}
