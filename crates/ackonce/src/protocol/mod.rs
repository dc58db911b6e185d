//! The claim protocol itself: the answers of one row, as two pure functions.
//!
//! Every store that can read a row and write it back in one transaction ([`MemoryStore`](crate::MemoryStore),
//! SQLite) runs these; stores that decide on their server (a script, one statement) say the same in its
//! language, and the conformance suite holds them to it. A store that keeps bytes under a key writes
//! [`Row::encode`] and reads [`Row::decode`].

mod stored;

use std::time::Duration;

use bytes::Bytes;

use crate::claim::{ClaimRequest, Claimed, Lease, Previous, Token};
use crate::fingerprint::Fingerprint;
use crate::record::{Record, State};
use crate::settle::{Attempt, Settle, Settled, Settlement};

/// One key's row. Moments are microseconds of the store's clock since the Unix epoch.
///
/// ```
/// use std::time::Duration;
/// use ackonce::Scope;
/// use ackonce::protocol::{Row, claim};
/// use ackonce::store::{ClaimRequest, Claimed, Token};
///
/// // A store keeps one row for each key, and asks the protocol for the answer and the row to write.
/// let key = Scope::new("billing")?.key("evt_1")?;
/// let request = ClaimRequest {
///     key,
///     token: Token::random(),
///     lease: Duration::from_secs(30),
///     window: Duration::from_secs(3600),
///     fingerprint: None,
/// };
/// let now = 1_764_500_000_000_000;                        // the store's clock, in microseconds
/// let (answer, write) = claim(None, &request, now);
/// assert!(matches!(answer, Claimed::Acquired(_)));
/// let bytes = write.unwrap().encode();
/// assert!(Row::decode(&bytes).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The state of the key.
    pub state: State,
    /// The token of its last claim.
    pub token: Token,
    /// The fence of its last claim.
    pub fence: u64,
    /// When it was last claimed.
    pub claimed: u64,
    /// Attempts counted so far.
    pub attempt: u32,
    /// The end of the attempt before the last claim; once released, the end that the next claim is told of.
    pub previous: Previous,
    /// The payload's fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// When the next claim may be granted: the end of the lease while claimed, the end of the back-off once released.
    pub free_at: u64,
    /// When the row means nothing any more.
    pub expires: u64,
    /// The handler's outcome once it is done; until then the progress of its attempts.
    pub outcome: Option<Bytes>,
    /// Why it was buried.
    pub reason: Option<String>,
}

impl Row {
    /// The time for which a claim is refused from `now` on: the rest of a lease, or of a back-off.
    #[must_use]
    pub fn free_in(&self, now: u64) -> Duration {
        match self.state {
            State::Claimed | State::Released => Duration::from_micros(self.free_at.saturating_sub(now)),
            State::Done | State::Buried => Duration::ZERO,
        }
    }

    /// The row as a caller sees it at `now`.
    #[must_use]
    pub fn record(&self, now: u64) -> Record {
        let (outcome, progress) = match self.state {
            State::Done => (self.outcome.clone(), None),
            State::Claimed | State::Released | State::Buried => (None, self.outcome.clone()),
        };
        Record {
            state: self.state,
            fence: self.fence,
            attempt: self.attempt,
            fingerprint: self.fingerprint,
            outcome,
            progress,
            reason: self.reason.clone(),
            age: Duration::from_micros(now.saturating_sub(self.claimed)),
        }
    }
}

/// The answer to a claim, and the row to write if it changed.
#[must_use]
pub fn claim(row: Option<&Row>, request: &ClaimRequest, now: u64) -> (Claimed, Option<Row>) {
    // A fence outlives its window as long as the row is still there, and the clock carries it on after that.
    let last_fence = row.map_or(0, |r| r.fence);
    let Some(row) = row.filter(|r| now < r.expires) else {
        return grant(request, now, last_fence, None);
    };
    if let (Some(was), Some(is)) = (row.fingerprint, request.fingerprint)
        && was != is
    {
        return (Claimed::Mismatch(row.record(now)), None);
    }
    let same = row.token == request.token;
    match row.state {
        State::Done | State::Buried => (Claimed::Done(row.record(now)), None),
        State::Claimed if same => regrant(row, request, now),
        // A lease, or the back-off of a failed attempt: another copy of the message would burn its attempts.
        State::Claimed | State::Released if now < row.free_at => {
            (Claimed::Busy { free_in: row.free_in(now) }, None)
        }
        // A claim that arrives after its own release: its caller has gone on, do not lease to a ghost.
        State::Released if same => (Claimed::Busy { free_in: Duration::ZERO }, None),
        State::Claimed => grant(request, now, last_fence, Some((row, Previous::Vanished))),
        State::Released => grant(request, now, last_fence, Some((row, row.previous))),
    }
}

/// `trail` is the row that is claimed on, and how its attempt ended.
fn grant(
    request: &ClaimRequest,
    now: u64,
    last_fence: u64,
    trail: Option<(&Row, Previous)>,
) -> (Claimed, Option<Row>) {
    let free_at = now.saturating_add(micros(request.lease));
    let row = Row {
        state: State::Claimed,
        token: request.token,
        fence: last_fence.saturating_add(1).max(now),
        claimed: now,
        attempt: trail.map_or(0, |(row, _)| row.attempt).saturating_add(1),
        previous: trail.map_or(Previous::None, |(_, previous)| previous),
        // A claim without a fingerprint does not make the first one's forgotten.
        fingerprint: request.fingerprint.or(trail.and_then(|(row, _)| row.fingerprint)),
        free_at,
        expires: free_at.saturating_add(micros(request.window)),
        outcome: trail.and_then(|(row, _)| row.outcome.clone()),
        reason: None,
    };
    (Claimed::Acquired(lease_of(&row, request)), Some(row))
}

/// The same claim again: the reply was lost. It is answered as before, and held from now.
fn regrant(row: &Row, request: &ClaimRequest, now: u64) -> (Claimed, Option<Row>) {
    let free_at = now.saturating_add(micros(request.lease)).max(row.free_at);
    let row = Row {
        free_at,
        expires: free_at.saturating_add(micros(request.window)).max(row.expires),
        ..row.clone()
    };
    (Claimed::Acquired(lease_of(&row, request)), Some(row))
}

fn lease_of(row: &Row, request: &ClaimRequest) -> Lease {
    Lease {
        key: request.key.clone(),
        token: row.token,
        fence: row.fence,
        attempt: row.attempt,
        previous: row.previous,
        progress: row.outcome.clone(),
    }
}

/// The answer to a settlement, and the row to write if it changed.
#[must_use]
pub fn settle(row: Option<&Row>, settlement: &Settlement, now: u64) -> (Settled, Option<Row>) {
    let Some(row) =
        row.filter(|r| now < r.expires && r.token == settlement.token && r.fence == settlement.fence)
    else {
        return (Settled::Lost, None);
    };
    let ends_as = match settlement.action {
        Settle::Complete { .. } => State::Done,
        Settle::Bury { .. } => State::Buried,
        Settle::Release { .. } => State::Released,
        Settle::Extend { .. } | Settle::Save { .. } => State::Claimed,
        Settle::Redrive { window } if row.state == State::Buried => {
            let expires = now.saturating_add(micros(window));
            // The claim that buried it is over: its token settles nothing any more. Its payload may have been mended.
            let (token, fingerprint) = (Token([0; 16]), None);
            return (Settled::Yes, redriven(row, now).map(|row| Row { token, fingerprint, expires, ..row }));
        }
        Settle::Redrive { .. } => return (Settled::Lost, None),
    };
    match row.state {
        State::Claimed => (Settled::Yes, Some(changed(row.clone(), &settlement.action, ends_as, now))),
        state if state == ends_as => (Settled::Yes, None),
        _ => (Settled::Lost, None),
    }
}

fn changed(mut row: Row, action: &Settle, state: State, now: u64) -> Row {
    row.state = state;
    let window = match action {
        Settle::Complete { window, outcome } => {
            row.outcome.clone_from(outcome);
            *window
        }
        Settle::Bury { window, reason } => {
            row.reason = Some(reason.clone());
            *window
        }
        Settle::Release { attempt, window, not_before } => {
            row.free_at = now.saturating_add(micros(*not_before));
            if *attempt == Attempt::Refunded {
                row.attempt = row.attempt.saturating_sub(1);
            }
            // The possible effect of a vanished attempt is not undone by a later one that was handed back.
            if *attempt == Attempt::Counts || row.previous != Previous::Vanished {
                row.previous = Previous::Released;
            }
            not_before.saturating_add(*window)
        }
        Settle::Extend { lease, window } => {
            row.free_at = now.saturating_add(micros(*lease));
            lease.saturating_add(*window)
        }
        Settle::Save { progress } => {
            // A shorter one is an earlier copy, which comes late.
            if row.outcome.as_ref().is_none_or(|saved| saved.len() <= progress.len()) {
                row.outcome = Some(progress.clone());
            }
            return row;
        }
        Settle::Redrive { window } => *window,
    };
    row.expires = now.saturating_add(micros(window));
    row
}

/// Says if a row may be changed by hand at `now`: `None` if there is none, `Some(false)` while its lease lives.
#[must_use]
pub fn tendable(row: Option<&Row>, now: u64) -> Option<bool> {
    let row = row.filter(|r| now < r.expires)?;
    Some(row.state != State::Claimed || now >= row.free_at)
}

/// The row after a redrive at `now`; `None` if the next claim is granted anyway. A back-off ends with it, and the
/// attempts of a message that was neither done nor buried are kept. Progress is kept but for a message that was done.
#[must_use]
pub fn redriven(row: &Row, now: u64) -> Option<Row> {
    match row.state {
        State::Done | State::Buried => Some(Row {
            state: State::Released,
            attempt: 0,
            previous: Previous::Released,
            free_at: 0,
            outcome: row.outcome.clone().filter(|_| row.state == State::Buried),
            reason: None,
            ..row.clone()
        }),
        State::Released if now < row.free_at => Some(Row { free_at: 0, ..row.clone() }),
        State::Claimed | State::Released => None,
    }
}

fn micros(d: Duration) -> u64 {
    u64::try_from(d.as_micros()).unwrap_or(u64::MAX)
}
