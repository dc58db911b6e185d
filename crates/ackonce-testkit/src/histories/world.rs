//! A history: its steps, run on two clients of one store and on the model.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use ackonce::Scope;

use super::Fixture;
use super::call::{Act, Answer, Call, Granted, KEYS, Shape, Shown, Tend};
use super::model::{Event, Rows, Time};
use super::party::Party;
use super::step::{Op, Side, Step};
use crate::conformance::bench::scope;

pub(super) struct World<'a> {
    fixture: &'a dyn Fixture,
    parties: &'a mut [Party; 2],
    scope: Scope,
    time: Time,
    rows: HashMap<u8, Rows>,
    /// Of each key, the attempt and the fence of each lease, in the order in which they were given out.
    leases: HashMap<u8, Vec<(u8, u64)>>,
    /// Of each key, the record as it was listed last, and the store's name for it.
    listed: HashMap<u8, Shown>,
    digests: HashMap<u8, Vec<u8>>,
    turn: usize,
}

type Verdict<T = ()> = Result<T, String>;

impl<'a> World<'a> {
    /// On the clients of the history before.
    pub(super) async fn new(fixture: &'a dyn Fixture, parties: &'a mut [Party; 2]) -> Self {
        let now = fixture.pass(Duration::ZERO).await;
        Self {
            fixture,
            parties,
            scope: scope(""),
            time: Time { now: now.unwrap_or(1), is_exact: now.is_some() },
            rows: (0..KEYS).map(|key| (key, Rows::default())).collect(),
            leases: HashMap::new(),
            listed: HashMap::new(),
            digests: HashMap::new(),
            turn: 0,
        }
    }

    /// One step, and a look at each key.
    pub(super) async fn run(&mut self, step: Step) -> Verdict {
        // A clock that moves with steps alone lets many claims share a moment, as in a batch.
        if !self.time.is_exact {
            self.time.now += 1;
        }
        match step {
            Step::Call(side, op) => self.call(side, &op).await?,
            Step::Both(one, other) => self.both(&one, &other).await?,
            Step::Pass(time) => self.pass(time).await,
            Step::List(side) => self.list(side).await?,
            Step::Sweep(side) => drop(self.ask(side, Call::Sweep).await?),
            Step::Reopen(side) => self.parties[side] = self.fixture.open(side).await,
        }
        self.look().await
    }

    async fn pass(&mut self, time: u64) {
        if let Some(now) = self.fixture.pass(Duration::from_micros(time)).await {
            self.time.now = now;
        }
    }

    async fn ask(&self, side: Side, call: Call) -> Verdict<Answer> {
        let now = self.time.is_exact.then_some(self.time.now);
        self.parties[side].call(&self.scope, now, call).await
    }

    async fn call(&mut self, side: Side, op: &Op) -> Verdict {
        let call = self.call_of(op);
        let answer = self.ask(side, call.clone()).await?;
        let events = self.events(&call, &answer)?;
        self.explain(events, HashMap::new())
    }

    async fn both(&mut self, one: &Op, other: &Op) -> Verdict {
        let (one, other) = (self.call_of(one), self.call_of(other));
        let (first, second) = tokio::join!(self.ask(0, one.clone()), self.ask(1, other.clone()));
        let (one, other) = (self.events(&one, &first?)?, self.events(&other, &second?)?);
        self.explain(one, other)
    }

    fn explain(&mut self, mut one: Events, mut other: Events) -> Verdict {
        for (key, rows) in &mut self.rows {
            let one = one.remove(key).unwrap_or_default();
            let other = other.remove(key).unwrap_or_default();
            let after = rows.after(&one, &other, self.time);
            if after.is_empty() {
                return Err(format!(
                    "key {key}: no order explains\n  {one:?}\nand at the same time\n  {other:?}\nat {:?}, with {rows:?}",
                    self.time
                ));
            }
            *rows = after;
        }
        Ok(())
    }

    /// The call with the leases that were given out so far.
    fn call_of(&self, op: &Op) -> Call {
        match op {
            Op::Claim(asks) => Call::Claim(asks.clone()),
            Op::Settle(wants) => Call::Settle(
                wants
                    .iter()
                    .filter_map(|want| {
                        let leases = self.leases.get(&want.key)?;
                        let (attempt, fence) = *leases.iter().rev().nth(want.back)?;
                        let low = fence.saturating_sub(1);
                        // The fence of another lease would prove that one, where a store keeps no token.
                        let is_low = want.is_low && leases.iter().all(|(_, fence)| *fence != low);
                        let fence = if is_low { low } else { fence };
                        Some(Act { key: want.key, attempt, fence, action: want.action.clone() })
                    })
                    .collect(),
            ),
            Op::Tend { key, listed, redrive } => {
                let shown = listed.then(|| self.listed.get(key).cloned()).flatten();
                Call::Tend(Tend { key: *key, shown, redrive: *redrive })
            }
        }
    }

    /// The call by key, with its answers; each granted lease is kept.
    fn events(&mut self, call: &Call, answer: &Answer) -> Verdict<Events> {
        let mut events = Events::new();
        match (call, answer) {
            (Call::Claim(asks), Answer::Claimed(answers)) if asks.len() == answers.len() => {
                for (ask, answer) in asks.iter().zip(answers) {
                    if let Granted::Acquired { fence, .. } = answer {
                        let leases = self.leases.entry(ask.key).or_default();
                        if !leases.contains(&(ask.attempt, *fence)) {
                            leases.push((ask.attempt, *fence));
                        }
                    }
                    let event = Event::Claim(ask.request(&self.scope), answer.clone());
                    events.entry(ask.key).or_default().push(event);
                }
            }
            (Call::Settle(acts), Answer::Settled(answers)) if acts.len() == answers.len() => {
                for (act, answer) in acts.iter().zip(answers) {
                    let event = Event::Settle(act.settlement(&self.scope), *answer);
                    events.entry(act.key).or_default().push(event);
                }
            }
            (Call::Tend(tend), Answer::Tended(answer)) => {
                let still = tend.shown.as_ref().map(|shown| (shown.record.state.clone(), shown.record.fence));
                let event = Event::Tend { still, redrive: tend.redrive, answer: *answer };
                events.entry(tend.key).or_default().push(event);
            }
            _ => return Err(format!("{call:?} was answered by {answer:?}")),
        }
        Ok(events)
    }

    /// Compares each key's record, by both clients in turn.
    async fn look(&mut self) -> Verdict {
        self.turn += 1;
        let Answer::Looked(looked) = self.ask(self.turn % 2, Call::Look).await? else {
            return Err("a look was not answered".to_owned());
        };
        for (key, shown) in (0..KEYS).zip(looked) {
            let shape: Option<&Shape> = shown.as_ref().map(|shown| &shown.record);
            let rows = &self.rows[&key];
            let after = rows.shown_as(shape, self.time.now);
            if after.is_empty() {
                return Err(format!(
                    "key {key}: {shape:?} is shown at {:?} where it has {rows:?}",
                    self.time
                ));
            }
            self.rows.insert(key, after);
            if let Some(shown) = shown {
                self.digests.insert(key, shown.digest);
            }
        }
        Ok(())
    }

    /// Compares the list with the look after the step before.
    async fn list(&mut self, side: Side) -> Verdict {
        let Answer::Listed(listed) = self.ask(side, Call::List).await? else {
            return Err("a list was not answered".to_owned());
        };
        let names: HashSet<_> = listed.iter().map(|shown| &shown.digest).collect();
        if names.len() < listed.len() {
            return Err("a record is listed twice".to_owned());
        }
        for (key, digest) in &self.digests {
            let shown = listed.iter().find(|shown| shown.digest == *digest);
            if self.rows[key].shown_as(shown.map(|shown| &shown.record), self.time.now).is_empty() {
                return Err(format!("key {key} is listed as {shown:?} where it has {:?}", self.rows[key]));
            }
            if let Some(shown) = shown {
                self.listed.insert(*key, shown.clone());
            }
        }
        Ok(())
    }
}

type Events = HashMap<u8, Vec<Event>>;
