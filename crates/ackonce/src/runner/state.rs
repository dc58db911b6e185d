//! The states of one delivery. [`deliver`](super::Inner::deliver) takes it from each to the next:
//!
//! | state | step | file | next |
//! |---|---|---|---|
//! | `Waiting` | waits, takes a slot, claims | `claim.rs` | `Claimed`; `Quarantined`: a suspect; `Redriving`; `Waiting`: busy; `Ended`: a duplicate |
//! | `Quarantined` | waits for its turn, takes a slot, claims | `claim.rs` | the same |
//! | `Redriving` | releases the record of its burial | `bury.rs` | `Waiting` |
//! | `Claimed` | decides | `claim.rs` | `Running`; `Probing`; `Burying`; `Releasing`: it is not wanted any more |
//! | `Probing` | asks the probe | `run.rs` | as `Running`; `Burying` |
//! | `Running` | runs the handler | `run.rs` | `Completing`; `Releasing`; `Burying`; `Waiting`: its claim is left to the lease |
//! | `Completing` | records the outcome | `settle.rs` | `Ended`; `Waiting`: fenced off; `Burying`: the outcome is refused |
//! | `Releasing` | gives the claim back | `settle.rs` | `Waiting`; `Quarantined`; `Ended` |
//! | `Burying` | sends the letter, records the burial | `bury.rs` | `Ended`; `Waiting`: fenced off |
//! | `Ended` | | | |
//!
//! A stop, a revocation or a store that refuses ends it from each of them. Messages of a batch share the steps that cost
//! a trip.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::{SmallVec, smallvec};

use crate::heartbeat::Hold;
use crate::settings::Probe;
use crate::settle::Attempt;
use crate::ticket::{Job, Receipt, Ticket, Unsettled, Why};

/// The end of a delivery.
pub(super) type Outcome<D> = Result<Receipt<D>, Unsettled<D>>;

/// The state of a delivery between its arrival and its end.
pub(super) enum State<D> {
    /// Not claimed: it waits for this long, then for a handler's slot, and is claimed.
    Waiting(Job<D>, Duration),
    /// Not claimed, and it may have killed a worker: it is claimed and run while no other such message is.
    Quarantined(Job<D>),
    /// A dead letter of a buried message, which has come back: its record is redriven, then it is claimed again.
    Redriving(Job<D>),
    /// Claimed.
    Claimed(Ticket<D>),
    /// Claimed, and its handler is the next to act.
    Running(Ticket<D>),
    /// Claimed after a worker that vanished: the probe is asked whether the effect happened.
    Probing(Ticket<D>, Arc<dyn Probe>),
    /// Its effect happened, with this outcome to record.
    Completing(Ticket<D>, Option<Bytes>),
    /// Its claim is given back.
    Releasing(Ticket<D>, Box<Release>),
    /// It goes to the dead-letter place.
    Burying(Box<Burying<D>>),
    /// It may be acknowledged, or goes back unsettled.
    Ended(Outcome<D>),
}

/// The reason for which a claim is given back.
pub(super) enum Release {
    /// Its handler failed: it runs again after `wait`, or goes back to its sender.
    Failed { attempt: Attempt, reason: String, wait: Duration },
    /// It does not run here.
    HandedBack(Why),
    /// It may have killed a worker that ran others beside it: it runs alone, after `wait`.
    Isolated { wait: Duration },
}

/// A claimed message on its way to the dead-letter place.
pub(super) struct Burying<D> {
    pub(super) ticket: Ticket<D>,
    pub(super) reason: String,
    /// True if its effect may have happened: then nobody may run it as if it had not, should the burial be interrupted.
    pub(super) uncertain: bool,
    /// Keeps the claim, for as long as the place is away.
    pub(super) hold: Hold,
}

impl<D> State<D> {
    /// The end of a delivery that must not be acknowledged.
    pub(super) fn unsettled(job: Job<D>, why: Why) -> Self {
        Self::Ended(Err(job.unsettled(why)))
    }

    /// True if a handler's slot belongs to it. A delivery that waits has none, nor one that is buried.
    pub(super) fn needs_slot(&self) -> bool {
        match self {
            Self::Claimed(_)
            | Self::Running(_)
            | Self::Probing(..)
            | Self::Completing(..)
            | Self::Releasing(..) => true,
            Self::Waiting(..)
            | Self::Quarantined(_)
            | Self::Redriving(_)
            | Self::Burying(_)
            | Self::Ended(_) => false,
        }
    }
}

/// Deliveries that share a trip. Most groups are of one, which needs no memory of its own.
pub(super) type Group<T> = SmallVec<[T; 1]>;

/// As `collect`, which takes several times as long for a group of one.
pub(super) fn each<T>(all: impl IntoIterator<Item = T>) -> Group<T> {
    let mut all = all.into_iter();
    match (all.next(), all.size_hint()) {
        (None, _) => Group::new(),
        (Some(sole), (_, Some(0))) => smallvec![sole],
        (Some(first), (more, _)) => {
            let mut group = Group::with_capacity(1 + more);
            group.push(first);
            group.extend(all);
            group
        }
    }
}

/// The one answer to a group of one.
pub(super) fn sole<T>(mut answers: Group<T>) -> T {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => answer,
        // `claim`, `run` and `settle` answer one to one, and the coalescer refuses a store that does not.
        _ => unreachable!("one in, one out"),
    }
}
