//! The store: the protocol's two functions over a map, and calls that get lost, late and repeated on their way.

use std::collections::BTreeMap;
use std::time::Duration;

use ackonce::protocol::{self, Row};
use ackonce::store::{ClaimRequest, Claimed, Description, Repeat, Settle, Settled, Settlement, State};
use ackonce::{Deduplicator, Error, ErrorKind, Key, Result};
use async_trait::async_trait;

use crate::plan::{Bug, Plan};
use crate::process::Process;
use crate::world::Inner;

/// The rows, and the calls that arrive late.
#[derive(Debug, Default)]
pub(crate) struct Store {
    rows: BTreeMap<u32, Row>,
    /// By the moment of their arrival.
    late: BTreeMap<(u64, u64), Call>,
    calls: u64,
    /// Its clock does not go back, whichever process calls.
    now: u64,
    pub(crate) down_until: u64,
}

/// A call on its way.
#[derive(Debug, Clone)]
enum Call {
    Claim(Vec<ClaimRequest>),
    Settle(Vec<Settlement>),
}

/// Its answer.
enum Answer {
    Claims(Vec<Claimed>),
    Settles(Vec<Settled>),
}

/// The way of a call.
#[derive(Debug, Clone, Copy)]
enum Way {
    Straight,
    Refused,
    RequestLost,
    ReplyLost,
    /// Applied later, its caller told that it got lost.
    Late(Duration),
    /// Applied now, and again later.
    Twice(Duration),
    Slow(Duration),
    /// Not answered, and applied or not.
    Hangs(bool),
}

/// The number of a message, which is its ID.
pub(crate) fn number(key: &Key) -> u32 {
    std::str::from_utf8(key.id()).ok().and_then(|id| id.parse().ok()).unwrap_or(u32::MAX)
}

impl Store {
    pub(crate) fn state(&self, id: u32) -> Option<State> {
        self.rows.get(&id).map(|row| row.state)
    }

    /// True if a claim under this fence holds the message.
    pub(crate) fn is_held(&self, id: u32, fence: u64, now: u64) -> bool {
        self.rows.get(&id).is_some_and(|r| r.state == State::Claimed && r.fence == fence && now < r.free_at)
    }
}

impl Inner {
    /// Applies the calls that arrive by now.
    pub(crate) fn apply_late(&mut self, plan: &Plan, now: u64) {
        while let Some(first) = self.store.late.first_entry()
            && first.key().0 <= now
        {
            let ((at, _), call) = first.remove_entry();
            self.log(at, 0, format_args!("a late call arrives"));
            self.apply(plan, &call, at, 0);
        }
    }

    fn apply(&mut self, plan: &Plan, call: &Call, at: u64, who: u32) -> Answer {
        self.store.now = self.store.now.max(at);
        let now = self.store.now;
        match call {
            Call::Claim(all) => Answer::Claims(all.iter().map(|r| self.claim(plan, r, now, who)).collect()),
            Call::Settle(all) => {
                Answer::Settles(all.iter().map(|s| self.settle(plan, s, now, who)).collect())
            }
        }
    }

    fn claim(&mut self, plan: &Plan, request: &ClaimRequest, now: u64, who: u32) -> Claimed {
        let id = number(&request.key);
        let was = self.store.rows.get(&id).cloned();
        let mut seen = was.clone();
        if plan.has(Bug::LeaseIgnored)
            && let Some(row) = seen.as_mut().filter(|row| row.state == State::Claimed)
        {
            row.free_at = 0;
        }
        if plan.has(Bug::RecordForgotten) && self.dice.u64(..10) == 0 {
            seen.take_if(|row| row.state == State::Done);
        }
        let (mut answer, mut written) = protocol::claim(seen.as_ref(), request, now);
        if let (true, Claimed::Acquired(lease), Some(was)) = (plan.has(Bug::FenceReused), &mut answer, &was) {
            lease.fence = was.fence;
            written.iter_mut().for_each(|row| row.fence = was.fence);
        }
        if let Claimed::Acquired(lease) = &answer {
            self.check_grant(id, was.as_ref(), request, lease.fence, now);
            let attempt = lease.attempt;
            self.log(now, who, format_args!("claim {id} granted, attempt {attempt}, fence {}", lease.fence));
        } else {
            self.log(now, who, format_args!("claim {id}: {}", name(&answer)));
        }
        self.store.rows.extend(written.map(|row| (id, row)));
        answer
    }

    /// Said again, without the protocol: a message that is settled or held is not granted, and fences grow.
    fn check_grant(&mut self, id: u32, was: Option<&Row>, request: &ClaimRequest, fence: u64, now: u64) {
        let Some(was) = was else { return };
        // A repeated claim is answered as the first time.
        let is_repeat = was.token == request.token && was.state == State::Claimed;
        if matches!(was.state, State::Done | State::Buried) {
            self.wrong(now, format!("{id} is granted and {:?} already", was.state));
        } else if !is_repeat && now < was.free_at {
            self.wrong(now, format!("{id} is granted and not free"));
        }
        if !is_repeat && fence <= was.fence {
            self.wrong(now, format!("{id} is granted under fence {fence} after {}", was.fence));
        }
    }

    fn settle(&mut self, plan: &Plan, settlement: &Settlement, now: u64, who: u32) -> Settled {
        let id = number(&settlement.key);
        let was = self.store.rows.get(&id);
        let (answer, mut written) = protocol::settle(was, settlement, now);
        let (before, is_older) =
            was.map_or((None, false), |row| (Some(row.state), settlement.fence < row.fence));
        let loses = match settlement.action {
            Settle::Extend { .. } => plan.has(Bug::RenewalLost),
            Settle::Complete { .. } => plan.has(Bug::CompletionLost) && self.dice.u64(..4) == 0,
            _ => false,
        };
        written.take_if(|_| loses);
        if written.is_some() && is_older {
            self.wrong(now, format!("{id}: a settlement under an older fence is taken"));
        }
        let after = written.as_ref().map(|row| row.state);
        if let (Some(was @ (State::Done | State::Buried)), Some(is)) = (before, after)
            && was != is
        {
            self.wrong(now, format!("{id} was {was:?} and is {is:?}"));
        }
        let action = match settlement.action {
            Settle::Complete { .. } => "complete",
            Settle::Release { .. } => "release",
            Settle::Extend { .. } => "extend",
            Settle::Bury { .. } => "bury",
            _ => "settle",
        };
        self.log(now, who, format_args!("{action} {id}: {answer:?}"));
        self.store.rows.extend(written.map(|row| (id, row)));
        answer
    }

    fn way(&mut self, plan: &Plan, at: u64, who: u32) -> Way {
        if at < self.store.down_until {
            self.ledger.disturbed(at, Some(who));
            return [Way::Refused, Way::RequestLost, Way::ReplyLost][self.dice.usize(..3)];
        }
        let (kind, delay) = (self.dice.u64(..16), Duration::from_millis(1 + self.dice.u64(..5_000)));
        if !self.fault(plan, at, plan.store_faults, Some(who), "a call to the store") {
            return Way::Straight;
        }
        match kind {
            0 => Way::Hangs(true),
            1 => Way::Hangs(false),
            2..=3 => Way::Refused,
            4..=5 => Way::RequestLost,
            6..=8 => Way::ReplyLost,
            9..=11 => Way::Late(delay),
            12..=13 => Way::Twice(delay),
            _ => Way::Slow(delay),
        }
    }

    fn send_late(&mut self, call: &Call, at: u64) {
        self.store.calls += 1;
        self.store.late.insert((at, self.store.calls), call.clone());
    }
}

fn name(answer: &Claimed) -> &'static str {
    match answer {
        Claimed::Acquired(_) => "granted",
        Claimed::Done(_) => "settled already",
        Claimed::Busy { .. } => "busy",
        Claimed::Mismatch(_) => "mismatch",
    }
}

/// The store as a process reaches it.
#[derive(Debug)]
pub(crate) struct Reached(pub(crate) Process);

impl Reached {
    async fn trip(&self, call: Call) -> Result<Answer> {
        let Self(process) = self;
        let world = &process.world;
        let way = world.inner().way(&world.plan, process.now(), process.name);
        let gone = || Error::new(ErrorKind::Unavailable, "planned").with_repeat(Repeat::Unknown);
        let apply = || world.inner().apply(&world.plan, &call, process.now(), process.name);
        process.wait(3).await;
        let answer = match way {
            Way::Straight => apply(),
            Way::Refused => {
                return Err(Error::new(ErrorKind::Unavailable, "planned").with_repeat(Repeat::Safe));
            }
            Way::RequestLost => return Err(gone()),
            Way::ReplyLost => {
                apply();
                process.wait(20).await;
                return Err(gone());
            }
            Way::Late(delay) => {
                world.inner().send_late(&call, process.now() + micros(delay));
                process.wait(20).await;
                return Err(gone());
            }
            Way::Twice(delay) => {
                world.inner().send_late(&call, process.now() + micros(delay));
                apply()
            }
            Way::Slow(delay) => {
                let answer = apply();
                tokio::time::sleep(delay).await;
                answer
            }
            Way::Hangs(is_applied) => {
                if is_applied {
                    apply();
                }
                std::future::pending().await
            }
        };
        process.wait(3).await;
        Ok(answer)
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[async_trait]
impl Deduplicator for Reached {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        match self.trip(Call::Claim(requests.to_vec())).await? {
            Answer::Claims(answers) => Ok(answers),
            Answer::Settles(_) => Ok(Vec::new()),
        }
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        match self.trip(Call::Settle(settlements.to_vec())).await? {
            Answer::Settles(answers) => Ok(answers),
            Answer::Claims(_) => Ok(Vec::new()),
        }
    }

    fn describe(&self) -> Description {
        Description { name: "simulated".into(), weaknesses: Vec::new() }
    }
}
