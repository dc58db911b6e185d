//! A worker's progress with one message.

use crate::state::Ended;

/// A worker. It knows of a message only the store's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Worker {
    /// Waits for a delivery.
    Idle,
    /// Has sent its claim, once or more.
    Asking {
        /// The message.
        message: usize,
        /// The attempt.
        token: u8,
    },
    /// Holds the claim.
    Running {
        /// The message.
        message: usize,
        /// The claim.
        lease: Lease,
        /// True once the effect has happened.
        ran: bool,
    },
    /// Has sent its settlement, once or more.
    Settling {
        /// The message.
        message: usize,
        /// The claim.
        lease: Lease,
        /// The change.
        how: How,
    },
}

/// An acquired claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    /// The attempt.
    pub token: u8,
    /// The rank of its fence.
    pub fence: u16,
    /// The number of the attempt.
    pub attempt: u8,
    /// The end of the attempt before.
    pub previous: Ended,
    /// A step of the message has finished, now or in an attempt before.
    pub saved: bool,
}

/// The change of a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum How {
    /// The effect happened.
    Complete,
    /// The handler failed: back-off, the attempt counts.
    Fail,
    /// Handed back at once, without a run: the attempt does not count.
    HandBack,
    /// Given up.
    Bury,
    /// The heartbeat.
    Extend,
    /// A step has finished.
    Save,
}

impl Worker {
    /// The message in hand.
    #[must_use]
    pub fn message(&self) -> Option<usize> {
        match self {
            Self::Idle => None,
            Self::Asking { message, .. } | Self::Running { message, .. } | Self::Settling { message, .. } => {
                Some(*message)
            }
        }
    }
}
