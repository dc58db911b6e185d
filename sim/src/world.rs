//! The state that all processes of a run share: chance, the store, the ledger, and all that happened.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ackonce::store::State;
use fastrand::Rng;

use crate::ledger::Ledger;
use crate::plan::{Behaviour, Plan};
use crate::store::Store;
use crate::trace::Trace;

/// The moment at which a run begins, in microseconds since the Unix epoch.
pub(crate) const BEGIN: u64 = 1_800_000_000_000_000;

/// The state that all processes of a run share.
#[derive(Debug)]
pub struct World {
    /// The plan.
    pub plan: Plan,
    /// The message numbers of each lane in order, for the check of their order.
    pub lanes: OnceLock<Vec<Vec<u32>>>,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) dice: Rng,
    pub(crate) store: Store,
    pub(crate) ledger: Ledger,
    trace: Trace,
    pub(crate) wrong: Vec<String>,
    pub(crate) faults: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, is_kept: bool) -> Arc<Self> {
        let inner = Inner {
            // Not the numbers that the plan was made of.
            dice: Rng::with_seed(!plan.seed),
            store: Store::default(),
            ledger: Ledger::default(),
            trace: Trace::new(is_kept),
            wrong: Vec::new(),
            faults: 0,
        };
        Arc::new(Self { plan, lanes: OnceLock::new(), inner: Mutex::new(inner) })
    }

    pub(crate) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number below `bound`.
    pub fn roll(&self, bound: u64) -> u64 {
        self.inner().dice.u64(..bound)
    }

    /// An index into something of that length.
    pub fn index(&self, len: usize) -> usize {
        self.inner().dice.usize(..len)
    }

    /// A number of milliseconds up to `most`, at least one.
    pub fn millis(&self, most: u64) -> Duration {
        Duration::from_millis(1 + self.roll(most))
    }

    /// Writes down that something happened.
    pub fn log(&self, at: u64, who: u32, line: fmt::Arguments<'_>) {
        self.inner().log(at, who, line);
    }

    /// Writes down that a promise is broken.
    pub fn wrong(&self, at: u64, what: impl Into<String>) {
        self.inner().wrong(at, what);
    }

    /// True if a call of this process to its broker, or to the dead-letter place, is to fail now.
    pub fn call_fails(&self, at: u64, who: u32, what: &str) -> bool {
        let rate = self.plan.call_faults;
        self.inner().fault(&self.plan, at, rate, Some(who), what)
    }

    /// True if the message is settled in the store.
    #[must_use]
    pub fn is_settled(&self, id: u32) -> bool {
        self.inner().is_settled(id)
    }

    pub(crate) fn behaviour(&self, id: u32) -> (Behaviour, Duration) {
        let known = usize::try_from(id).ok().and_then(|id| self.plan.behaviours.get(id));
        known.copied().unwrap_or((Behaviour::Succeeds, Duration::ZERO))
    }

    pub(crate) fn take(&self) -> (u64, Vec<String>, Vec<String>, u64) {
        let mut inner = self.inner();
        let wrong = std::mem::take(&mut inner.wrong);
        (inner.trace.hash(), inner.trace.take_lines(), wrong, inner.faults)
    }
}

impl Inner {
    pub(crate) fn log(&mut self, at: u64, who: u32, line: fmt::Arguments<'_>) {
        self.trace.add(format_args!("{:>8} ms  {who:>2}  {line}", (at - BEGIN) / 1000));
    }

    pub(crate) fn wrong(&mut self, at: u64, what: impl Into<String>) {
        let what = what.into();
        self.log(at, 0, format_args!("WRONG {what}"));
        self.wrong.push(format!("{what}, after {} ms", (at - BEGIN) / 1000));
    }

    /// Rolls the dice in any case, so that a run with fewer faults is the same up to there.
    pub(crate) fn fault(&mut self, plan: &Plan, at: u64, rate: u64, whose: Option<u32>, what: &str) -> bool {
        let happens =
            self.dice.u64(..1000) < rate && at < BEGIN + plan.faults_for && self.faults < plan.most_faults;
        if happens {
            self.faults += 1;
            self.ledger.disturbed(at, whose);
            let count = self.faults;
            self.log(at, whose.unwrap_or(0), format_args!("FAULT {count}: {what}"));
        }
        happens
    }

    pub(crate) fn is_settled(&self, id: u32) -> bool {
        matches!(self.store.state(id), Some(State::Done | State::Buried))
    }
}
