//! Policies for the cases that have no single right answer.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::context::Context;

/// The policy for a handler that fails while attempts remain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// Keep the delivery and run it again after the back-off.
    #[default]
    Retry,
    /// Release the claim and hand the delivery back at once: its sender will send it again. After a failure that does
    /// not count as an attempt ([`Failure::Infrastructure`](crate::Failure::Infrastructure)) the next payload under the same
    /// ID may be another one, unless an earlier attempt counted or vanished.
    HandBack,
}

/// The policy for a message that has no usable ID. A broker's consumer buries it where there is a dead-letter place, and
/// stops where there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnMissing {
    /// Bury it, with the reason. Without an ID, nobody can tell whether two deliveries are one message, so each is a record
    /// of its own. Without a dead-letter place, the record with its reason is all that is kept of the payload.
    Bury,
    /// End the consumer with an error that names the message's place. The message stays at the broker; messages delivered
    /// before it, or beside it, still run, and nothing is acknowledged past it.
    Stop,
}

/// The policy for the same ID with another payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMismatch {
    /// Bury it with the reason. The first message's record stays as it is. Without a dead-letter place, where the second
    /// payload would be given up, this is [`Fail`](Self::Fail).
    #[default]
    Bury,
    /// Stop the consumer with an error; nothing is acknowledged.
    Fail,
    /// Hand the delivery back, for a caller who can be told.
    HandBack,
}

/// The policy for an effect that may have happened: the worker died or stalled with the claim, the handler
/// panicked, was cancelled or said so.
#[derive(Clone, Default)]
pub enum OnUnknown {
    /// Run it again, while attempts remain; for as long as it takes where there is no dead-letter place. Right for
    /// idempotent, keyed and inbox effects.
    #[default]
    RunAgain,
    /// Bury it for a person to look at. Right where doubling is worse than waiting.
    Park,
    /// Ask whether it happened.
    Ask(Arc<dyn Probe>),
}

impl fmt::Debug for OnUnknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RunAgain => "RunAgain",
            Self::Park => "Park",
            Self::Ask(_) => "Ask",
        })
    }
}

/// The policy at start for a broker or a store that cannot be used yet; for a store, see
/// [`connect_at_start`](crate::connect_at_start).
///
/// A consumer that waits says so once and asks again with a back-off of up to ten seconds. Once it has started it
/// always waits: a server that worked will work again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnStart {
    /// Wait for a server that is away, and for one that refuses the credentials or a right.
    Wait,
    /// Wait for a server that is away or a topic that does not exist yet; end with an error if the server refuses the
    /// credentials or a right. The default.
    #[default]
    EndIfRefused,
    /// End with an error for anything that cannot be used at once, for a supervisor that restarts it.
    End,
}

/// Answers whether an effect happened, by asking the effect's target.
#[async_trait]
pub trait Probe: Send + Sync {
    /// The fate of this message's effect. Called under the claim, before the handler would run again.
    async fn probe(&self, cx: &Context) -> Found;
}

/// The finding of a [`Probe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// It happened: record it, do not run again.
    Happened,
    /// It did not, and will not: run again.
    NotHappened,
    /// It cannot be told: bury it for a person.
    CannotTell,
}
