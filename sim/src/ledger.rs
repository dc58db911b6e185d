//! The effects, the dead letters, and the disturbances that explain what they explain.

use std::collections::{BTreeMap, BTreeSet};

use ackonce::store::State;

use crate::plan::{Behaviour, Plan, Wrong};
use crate::world::{Inner, World};

/// A process was stopped or killed, or a call of it failed.
#[derive(Debug)]
struct Disturbance {
    at: u64,
    /// All of them if it is nobody's.
    whose: Option<u32>,
}

/// One run of a handler.
#[derive(Debug)]
struct Run {
    id: u32,
    who: u32,
    began: u64,
    effect: bool,
    is_live: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    runs: Vec<Run>,
    ended: BTreeMap<u32, u32>,
    /// The keys under which a message took effect.
    keys: BTreeMap<u32, BTreeSet<String>>,
    letters: BTreeMap<u32, u32>,
    disturbances: Vec<Disturbance>,
    /// Processes that stand still.
    frozen: BTreeSet<u32>,
    /// Settled by the broker alone, by its own limit of deliveries.
    dropped: BTreeSet<u32>,
}

impl Ledger {
    pub(crate) fn disturbed(&mut self, at: u64, whose: Option<u32>) {
        self.disturbances.push(Disturbance { at, whose });
    }

    pub(crate) fn freeze(&mut self, who: u32, is_frozen: bool) {
        if is_frozen {
            self.frozen.insert(who);
        } else {
            self.frozen.remove(&who);
        }
    }

    /// True if something happened to that run, or after it, that it may have left its claim by.
    fn is_disturbed(&self, run: &Run) -> bool {
        // Processes are a step of the scheduler apart.
        let since = run.began.saturating_sub(200_000);
        let is_its = |d: &Disturbance| d.at >= since && d.whose.is_none_or(|whose| whose == run.who);
        self.disturbances.iter().any(is_its)
    }

    fn effects(&self, id: u32) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(move |run| run.id == id && run.effect)
    }

    /// The number of letters written by now.
    pub(crate) fn bury(&mut self, id: u32) {
        *self.letters.entry(id).or_default() += 1;
    }

    pub(crate) fn drop_at_limit(&mut self, id: u32) {
        self.dropped.insert(id);
    }

    /// The runs of this message that have ended, this one included.
    pub(crate) fn end(&mut self, id: u32) -> u32 {
        let ended = self.ended.entry(id).or_default();
        *ended += 1;
        *ended
    }

    pub(crate) fn leave(&mut self, run: usize) {
        self.runs[run].is_live = false;
    }
}

impl Inner {
    pub(crate) fn begin(&mut self, at: u64, who: u32, id: u32, fence: u64, earlier: &[u32]) -> usize {
        self.log(at, who, format_args!("run {id} under {fence}"));
        let beside = self.ledger.runs.iter().find(|run| run.id == id && run.is_live);
        if let Some(beside) = beside.filter(|run| !self.ledger.frozen.contains(&run.who)) {
            let (other, began) = (beside.who, (at - beside.began) / 1000);
            self.wrong(
                at,
                format!("{id} runs in {who} beside a run in {other} that began {began} ms before"),
            );
        }
        // The run of a claim that is gone already changes nothing that its next owner has.
        if self.store.is_held(id, fence, at)
            && let Some(before) = earlier.iter().find(|before| **before != id && !self.is_settled(**before))
        {
            self.wrong(at, format!("{id} runs before {before}, which is not settled"));
        }
        self.ledger.runs.push(Run { id, who, began: at, effect: false, is_live: true });
        self.ledger.runs.len() - 1
    }

    pub(crate) fn take_effect(&mut self, at: u64, run: usize, key: String) {
        let Run { id, who, .. } = self.ledger.runs[run];
        self.log(at, who, format_args!("effect {id}"));
        let ledger = &self.ledger;
        let unexplained = !ledger.is_disturbed(&ledger.runs[run])
            && ledger.effects(id).any(|earlier| !ledger.is_disturbed(earlier));
        if unexplained {
            self.wrong(at, format!("{id} takes effect again, and nothing happened to either run"));
        }
        self.ledger.runs[run].effect = true;
        let keys = self.ledger.keys.entry(id).or_default();
        keys.insert(key);
        if keys.len() > 1 {
            self.wrong(at, format!("{id} takes effect under another key"));
        }
    }
}

impl World {
    /// The broker has given up a message after its own limit of deliveries, and keeps it aside.
    pub fn dropped_at_limit(&self, id: u32) {
        self.inner().ledger.drop_at_limit(id);
    }

    /// Nothing is lost, and nothing happened that needs no explanation but has none.
    pub(crate) fn check_end(&self, at: u64) {
        let mut inner = self.inner();
        for id in (0_u32..).take(self.plan.behaviours.len()) {
            let ledger = &inner.ledger;
            let (effects, letters) = (ledger.effects(id).count(), ledger.letters.contains_key(&id));
            let explained = ledger.runs.iter().filter(|run| run.id == id).any(|run| ledger.is_disturbed(run));
            let state = inner.store.state(id);
            let what = match state {
                _ if ledger.dropped.contains(&id) => continue,
                Some(State::Done) if effects == 0 => "is done without an effect: lost",
                Some(State::Buried) if !letters => "is buried without a letter: lost",
                Some(State::Done | State::Buried) if effects > 0 && letters && !explained => {
                    "took effect and is buried, and nothing happened to its runs"
                }
                Some(State::Done | State::Buried) => match self.plan.expected(id) {
                    Some(expected) if state != Some(expected) => "has not the state that its plan gives",
                    Some(_) if effects > 1 => "took effect more than once in a calm world",
                    _ => continue,
                },
                _ => "is not settled",
            };
            inner.wrong(at, format!("{id} {what} ({state:?}, {effects} effects)"));
        }
    }
}

impl Plan {
    /// The state in which a message ends, where nothing but itself has a part in that.
    fn expected(&self, id: u32) -> Option<State> {
        let (behaviour, _) = *self.behaviours.get(usize::try_from(id).ok()?)?;
        if !self.is_calm() {
            return None;
        }
        Some(match behaviour {
            Behaviour::Succeeds | Behaviour::After(_, Wrong::Infrastructure) => State::Done,
            Behaviour::After(times, _) if times < crate::plan::ATTEMPTS => State::Done,
            Behaviour::After(..) | Behaviour::Permanent => State::Buried,
        })
    }
}
