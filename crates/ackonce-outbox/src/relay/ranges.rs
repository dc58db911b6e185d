//! The ranges of keys that this relay holds, each by a claim in the store: the claim protocol is the lock.

use std::collections::BTreeMap;
use std::time::Duration;

use ackonce::store::{Attempt, ClaimRequest, Claimed, Lease, Settle, Settled, Settlement, Token};
use ackonce::{Deduplicator, Error, ErrorKind, Key, Result, Scope};
use tokio::time::Instant;

use crate::outgoing::RANGES;

/// The time for which the store remembers a range that nobody holds.
const WINDOW: Duration = Duration::from_secs(3600);

#[derive(Debug)]
pub(super) struct Ranges {
    keys: Vec<Key>,
    lease: Duration,
    held: BTreeMap<i16, Held>,
    /// The tokens of claims whose answers were lost: the same claim again is answered as it was.
    open: BTreeMap<i16, Token>,
    /// The first range to claim; another for each relay, so that they do not meet.
    first: usize,
}

#[derive(Debug)]
struct Held {
    lease: Lease,
    renewed: Instant,
    /// Given up for another relay, once its rows on their way have ended.
    leaving: bool,
}

/// The requests of one round.
#[derive(Debug)]
pub(super) struct Round {
    extend: Vec<(i16, Lease)>,
    release: Vec<(i16, Lease)>,
    claim: Vec<(i16, ClaimRequest)>,
    /// The number of ranges that are missing.
    missing: usize,
    lease: Duration,
}

/// The store's answers.
#[derive(Debug)]
pub(super) struct Answers {
    /// Before the first request was sent.
    began: Instant,
    extended: Vec<(i16, Settled)>,
    released: Vec<i16>,
    claimed: Vec<(i16, Claimed)>,
    unanswered: Vec<(i16, Token)>,
    pub(super) trouble: Option<Error>,
}

impl Ranges {
    pub(super) fn new(lease: Duration) -> Result<Self> {
        let invalid = |e| Error::new(ErrorKind::Config, "outbox: its scope").with_source(e);
        let scope = Scope::new("outbox").map_err(invalid)?.beside("ranges");
        let key = |range: i16| scope.key(format!("range-{range}"));
        let keys = (0..RANGES).map(key).collect::<std::result::Result<_, _>>().map_err(invalid)?;
        let first = usize::from(Token::random().0[0]);
        Ok(Self { keys, lease, held: BTreeMap::new(), open: BTreeMap::new(), first })
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// True if rows of the range may be sent: its lease is certain to stand for a while.
    pub(super) fn may_send(&self, range: i16) -> bool {
        let lasts = |held: &Held| !held.leaving && held.renewed.elapsed() < self.lease * 2 / 3;
        self.held.get(&range).is_some_and(lasts)
    }

    /// The ranges whose rows may be read and sent.
    pub(super) fn readable(&self) -> Vec<i16> {
        self.held.keys().copied().filter(|range| self.may_send(*range)).collect()
    }

    /// Gives ranges up beyond the share of this relay, from the last on. Returns those.
    pub(super) fn give_up(&mut self, share: usize) -> Vec<i16> {
        let staying = self.held.values().filter(|held| !held.leaving).count();
        let surplus = self.held.iter_mut().rev().filter(|(_, held)| !held.leaving);
        let leaving = surplus.take(staying.saturating_sub(share));
        leaving
            .map(|(range, held)| {
                held.leaving = true;
                *range
            })
            .collect()
    }

    /// Forgets ranges whose lease has ended without a renewal. Returns those.
    pub(super) fn expire(&mut self) -> Vec<i16> {
        let lease = self.lease;
        let lost: Vec<_> =
            self.held.iter().filter(|(_, held)| held.renewed.elapsed() >= lease).map(|(n, _)| *n).collect();
        lost.iter().for_each(|range| drop(self.held.remove(range)));
        lost
    }

    /// The next round: renews, gives back, claims up to the share.
    pub(super) fn round(&mut self, share: usize, is_idle: impl Fn(i16) -> bool) -> Round {
        let ends = |range: i16, held: &Held| held.leaving && is_idle(range);
        let of = |ending: bool| {
            let all = self.held.iter().filter(|(range, held)| ends(**range, held) == ending);
            all.map(|(range, held)| (*range, held.lease.clone())).collect::<Vec<_>>()
        };
        let (extend, release) = (of(false), of(true));
        let missing = share.saturating_sub(self.held.values().filter(|held| !held.leaving).count());
        let order = (0..self.keys.len()).map(|n| (n + self.first) % self.keys.len());
        let free = order.filter_map(|n| i16::try_from(n).ok()).filter(|range| !self.held.contains_key(range));
        let claim = free.filter_map(|range| {
            let key = self.keys.get(usize::try_from(range).ok()?)?.clone();
            let token = self.open.get(&range).copied().unwrap_or_else(Token::random);
            Some((range, ClaimRequest { key, token, lease: self.lease, window: WINDOW, fingerprint: None }))
        });
        let claim = if missing > 0 { claim.collect() } else { Vec::new() };
        Round { extend, release, claim, missing, lease: self.lease }
    }

    /// Takes the answers over. Returns the ranges that were lost.
    pub(super) fn apply(&mut self, answers: Answers) -> Vec<i16> {
        let mut lost = Vec::new();
        for (range, settled) in answers.extended {
            match (settled, self.held.get_mut(&range)) {
                (Settled::Yes, Some(held)) => held.renewed = answers.began,
                (Settled::Lost, Some(_)) => {
                    self.held.remove(&range);
                    lost.push(range);
                }
                (_, None) => {}
            }
        }
        answers.released.iter().for_each(|range| drop(self.held.remove(range)));
        for (range, claimed) in answers.claimed {
            self.open.remove(&range);
            match claimed {
                Claimed::Acquired(lease) => {
                    self.held.insert(range, Held { lease, renewed: answers.began, leaving: false });
                }
                Claimed::Busy { .. } => {}
                Claimed::Done(_) | Claimed::Mismatch(_) => {
                    tracing::error!(target: "ackonce", range,
                        "the record of a range of the outbox is settled, so its messages wait; forget the record range-{range} of scope outbox/~ranges");
                }
            }
        }
        self.open.extend(answers.unanswered);
        lost
    }

    /// All leases, to be given back at the end.
    pub(super) fn all(&self) -> Vec<Lease> {
        self.held.values().map(|held| held.lease.clone()).collect()
    }
}

/// Gives a range back at once: nothing of it is on its way.
pub(super) fn release(lease: &Lease) -> Settlement {
    let action = Settle::Release { attempt: Attempt::Refunded, window: WINDOW, not_before: Duration::ZERO };
    Settlement::new(lease, action)
}

/// Sends the requests: one trip for renewals and releases, then claims until the share is reached.
pub(super) async fn ask(store: &dyn Deduplicator, round: Round) -> Answers {
    let mut answers = Answers {
        began: Instant::now(),
        extended: Vec::new(),
        released: Vec::new(),
        claimed: Vec::new(),
        unanswered: Vec::new(),
        trouble: None,
    };
    let extend =
        |lease: &Lease| Settlement::new(lease, Settle::Extend { lease: round.lease, window: WINDOW });
    let renewals = round.extend.iter().map(|(_, lease)| extend(lease));
    let settlements: Vec<_> = renewals.chain(round.release.iter().map(|(_, lease)| release(lease))).collect();
    if !settlements.is_empty() {
        match store.settle(&settlements).await {
            Ok(settled) => {
                answers.extended = round.extend.iter().map(|(range, _)| *range).zip(settled).collect();
                answers.released = round.release.iter().map(|(range, _)| *range).collect();
            }
            Err(error) => answers.trouble = Some(error),
        }
    }
    let (mut missing, mut claims) = (round.missing, round.claim);
    while missing > 0 && !claims.is_empty() && answers.trouble.is_none() {
        let rest = claims.split_off(missing.min(claims.len()));
        let requests: Vec<_> = claims.iter().map(|(_, request)| request.clone()).collect();
        match store.claim(&requests).await {
            Ok(claimed) => {
                missing -= claimed.iter().filter(|claimed| matches!(claimed, Claimed::Acquired(_))).count();
                answers.claimed.extend(claims.iter().map(|(range, _)| *range).zip(claimed));
            }
            Err(error) => {
                answers.unanswered = claims.iter().map(|(range, request)| (*range, request.token)).collect();
                answers.trouble = Some(error);
            }
        }
        claims = rest;
    }
    answers
}
