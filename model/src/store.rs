//! The store of the model: the two functions of the protocol on one record, and the promises that are checked at each.

use std::time::Duration;

use ackonce::protocol::{self, Row};
use ackonce::store::{Attempt, ClaimRequest, Claimed, Settle, Settled, Settlement, Token};
use ackonce::{Key, Previous};
use bytes::Bytes;

use crate::model::{Bug, Protocol};
use crate::state::{Broken, Ended, Held, Message, Phase};
use crate::worker::{How, Lease};

/// The store's clock in every situation; records say how far they are from it.
const NOW: u64 = 1_000_000;
const TICK: u64 = 1_000;
/// The length of a lease in ticks.
const LEASE: u8 = 2;
/// The back-off of a failed attempt in ticks.
const BACKOFF: u8 = 1;

/// The answer to a claim, as a worker needs it.
pub(crate) enum Answer {
    Acquired(Lease),
    Done,
    Busy,
}

impl Protocol {
    /// Carries out a claim.
    pub(crate) fn claim(
        &self,
        key: &Key,
        message: &mut Message,
        token: u8,
        broken: &mut Option<Broken>,
    ) -> Answer {
        let before = message.record;
        let row = before.map(|held| self.row(self.weakened(held)));
        let request = ClaimRequest {
            key: key.clone(),
            token: named(token),
            lease: ticks(LEASE),
            window: self.window.map_or(Duration::MAX, ticks),
            fingerprint: None,
        };
        let (claimed, change) = protocol::claim(row.as_ref(), &request, NOW);
        let mut lease = match claimed {
            Claimed::Acquired(lease) => lease,
            Claimed::Done(_) => return Answer::Done,
            Claimed::Busy { .. } | Claimed::Mismatch(_) => return Answer::Busy,
        };
        let is_repeat = before.is_some_and(|held| held.token == token && held.phase_is(Phase::Claimed));
        let Some(mut row) = change else { return Answer::Busy };
        if self.bug == Some(Bug::HiddenEffect) {
            row.previous = Previous::Released;
        }
        if self.bug == Some(Bug::ProgressDropped) {
            (row.outcome, lease.progress) = (None, None);
        }
        let fence = match is_repeat {
            true => before.map_or(0, |held| held.fence),
            false => self.rank(message.fence, before, lease.fence),
        };
        if !is_repeat {
            let previous = Ended::from(row.previous);
            if let Some(why) = granted_wrongly(message, fence, previous, lease.progress.is_some()) {
                broken.get_or_insert(why);
            }
            message.fence = message.fence.max(fence);
            message.unreported = false;
        }
        let held = self.held(&row, token, fence);
        message.record = Some(held);
        Answer::Acquired(Lease {
            token,
            fence,
            attempt: held.attempt,
            previous: held.previous,
            saved: held.saved,
        })
    }

    /// Carries out a settlement; true if it is so now.
    pub(crate) fn settle(
        &self,
        key: &Key,
        message: &mut Message,
        (token, fence): (u8, u16),
        how: How,
        broken: &mut Option<Broken>,
    ) -> bool {
        let Some(before) = message.record else { return false };
        let row = self.row(before);
        let mut settlement = Settlement {
            key: key.clone(),
            token: named(token),
            fence: self.moment(fence),
            action: self.action(how),
        };
        if self.bug == Some(Bug::SettledByAnybody) {
            (settlement.token, settlement.fence) = (row.token, row.fence);
        }
        let (settled, change) = protocol::settle(Some(&row), &settlement, NOW);
        if let Some(row) = change {
            message.record = Some(self.held(&row, before.token, before.fence));
        }
        if settled == Settled::Yes && matches!(how, How::Complete | How::Bury) {
            if message.settled_by.is_some_and(|by| by != token) {
                broken.get_or_insert(Broken::SettledTwice);
            }
            message.settled_by = Some(token);
            message.unreported = false;
            message.buried |= how == How::Bury;
        }
        if settled == Settled::Yes && how == How::Save {
            if fence != message.fence {
                broken.get_or_insert(Broken::StepByOldClaim);
            }
            message.saved = true;
        }
        settled == Settled::Yes
    }

    fn action(&self, how: How) -> Settle {
        let window = self.window.map_or(Duration::MAX, ticks);
        match how {
            How::Complete => Settle::Complete { window, outcome: None },
            How::Fail => Settle::Release { attempt: Attempt::Counts, window, not_before: ticks(BACKOFF) },
            How::HandBack => {
                Settle::Release { attempt: Attempt::Refunded, window, not_before: Duration::ZERO }
            }
            How::Bury => Settle::Bury { window, reason: "out of attempts".into() },
            How::Extend => Settle::Extend { lease: ticks(LEASE), window },
            How::Save => Settle::Save { progress: Bytes::from_static(b"step") },
        }
    }

    /// The record as a faulty store would read it before a claim.
    fn weakened(&self, held: Held) -> Held {
        let ignored = match self.bug {
            Some(Bug::LeaseIgnored) => held.phase_is(Phase::Claimed),
            Some(Bug::BackoffIgnored) => held.phase_is(Phase::Released),
            _ => false,
        };
        if ignored { Held { free_in: 0, ..held } } else { held }
    }

    fn row(&self, held: Held) -> Row {
        Row {
            state: held.state.into(),
            token: named(held.token),
            fence: self.moment(held.fence),
            claimed: NOW,
            attempt: held.attempt.into(),
            previous: held.previous.into(),
            fingerprint: None,
            free_at: NOW + u64::from(held.free_in) * TICK,
            expires: held.expires_in.map_or(u64::MAX, |left| NOW + u64::from(left) * TICK),
            outcome: held.saved.then(|| Bytes::from_static(b"step")),
            reason: None,
        }
    }

    fn held(&self, row: &Row, token: u8, fence: u16) -> Held {
        let left = |moment: u64| u8::try_from(moment.saturating_sub(NOW) / TICK).unwrap_or(u8::MAX);
        Held {
            state: row.state.into(),
            token,
            fence,
            attempt: u8::try_from(row.attempt).unwrap_or(u8::MAX).min(self.attempts + 1),
            previous: row.previous.into(),
            saved: row.outcome.is_some(),
            free_in: left(row.free_at),
            expires_in: self.window.map(|_| left(row.expires)),
        }
    }

    /// A fence of that rank, below the clock, or above it where the clock was set back.
    fn moment(&self, rank: u16) -> u64 {
        u64::from(rank) + if self.clock_was_set_back { 2 * NOW } else { 0 }
    }

    /// The rank of a fence that the protocol has granted, among those that this message has seen.
    fn rank(&self, highest: u16, before: Option<Held>, granted: u64) -> u16 {
        if self.bug == Some(Bug::FenceReused) {
            return before.map_or(highest + 1, |held| held.fence);
        }
        if highest == 0 || granted > self.moment(highest) { highest + 1 } else { highest }
    }
}

impl Held {
    pub(crate) fn phase_is(&self, phase: Phase) -> bool {
        self.state == phase
    }
}

/// The promise that a new grant breaks, judged by the truth and not by the store's answer.
fn granted_wrongly(message: &Message, fence: u16, previous: Ended, saved: bool) -> Option<Broken> {
    let is_held = message.record.is_some_and(|held| {
        held.free_in > 0 && (held.phase_is(Phase::Claimed) || held.phase_is(Phase::Released))
    });
    if is_held {
        Some(Broken::GrantedTwice)
    } else if fence <= message.fence {
        Some(Broken::FenceReused)
    } else if message.settled_by.is_some() {
        Some(Broken::RanAfterSettled)
    } else if message.unreported && previous != Ended::Vanished {
        Some(Broken::EffectHidden)
    } else if message.saved != saved {
        Some(Broken::StepForgotten)
    } else {
        None
    }
}

fn named(token: u8) -> Token {
    Token([token; 16])
}

fn ticks(count: u8) -> Duration {
    Duration::from_micros(u64::from(count) * TICK)
}
