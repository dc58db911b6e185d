//! A broker, a store with outages and a handler that follow the plan and keep a log.

use std::collections::{BTreeSet, HashMap};
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::Instant;

use super::plan::{Behaviour, Message, Order, Outage, Plan, Wrong};
use crate::bury::{Burial, BuryError, Graveyard, Letter};
use crate::claim::{ClaimRequest, Claimed, Previous};
use crate::context::Context;
use crate::deduplicator::{Deduplicator, Description};
use crate::error::{Error, ErrorKind, Result};
use crate::failure::Failure;
use crate::handler::Effect;
use crate::inspect::Inspect;
use crate::key::Scope;
use crate::memory::MemoryStore;
use crate::record::State;
use crate::settle::{Settle, Settled, Settlement};
use crate::ticket::{Delivery, Receipt, Unsettled, Why};

/// An outcome over the store's limit.
const TOO_LONG: usize = 9;

#[derive(Debug)]
pub(super) struct World {
    pub(super) plan: Plan,
    pub(super) ids: Vec<Vec<usize>>,
    messages: HashMap<usize, Message>,
    pub(super) scope: Scope,
    pub(super) store: MemoryStore,
    pub(super) began: Instant,
    seen: Mutex<Seen>,
    /// Told whenever a commit moves.
    pub(super) moved: Notify,
}

#[derive(Debug, Default)]
struct Seen {
    partitions: Vec<Partition>,
    by_id: HashMap<usize, Runs>,
    letters: HashMap<usize, u32>,
    released: bool,
    wrong: Vec<String>,
}

#[derive(Debug, Default)]
struct Partition {
    generation: u64,
    committed: usize,
    settled: BTreeSet<usize>,
    over: Option<Duration>,
}

#[derive(Debug, Default)]
struct Runs {
    begun: usize,
    /// Of those that ended, how many a plan may count.
    ended: u32,
    now: u32,
    effects: u32,
    /// Runs after one that ended without a word.
    vanished: u32,
}

/// A message on its way, as a consumer of that generation got it.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) world: Arc<World>,
    pub(super) id: usize,
    pub(super) partition: usize,
    pub(super) offset: usize,
    pub(super) generation: u64,
    pub(super) _room: OwnedSemaphorePermit,
}

impl Delivery for Sent {
    type Message = usize;

    fn message(&self) -> usize {
        self.id
    }

    fn is_current(&self) -> bool {
        self.world.generation(self.partition) == self.generation
    }
}

impl World {
    pub(super) fn new(plan: Plan) -> Arc<Self> {
        let over = |ids: &Vec<usize>| Partition {
            over: ids.is_empty().then_some(Duration::ZERO),
            ..Partition::default()
        };
        let ids = plan.ids();
        let partitions = ids.iter().map(over).collect();
        Arc::new(Self {
            ids,
            messages: plan.messages(),
            plan,
            scope: Scope::new("liveness").unwrap(),
            store: MemoryStore::new(),
            began: Instant::now(),
            seen: Mutex::new(Seen { partitions, ..Seen::default() }),
            moved: Notify::new(),
        })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn generation(&self, partition: usize) -> u64 {
        self.seen().partitions[partition].generation
    }

    /// Takes a partition from its consumer; the next one begins at the committed offset.
    pub(super) fn take_away(&self, partition: usize) -> (u64, usize) {
        let partition = &mut self.seen().partitions[partition];
        partition.generation += 1;
        partition.settled.clear();
        (partition.generation, partition.committed)
    }

    pub(super) fn ended(&self, outcomes: Vec<std::result::Result<Receipt<Sent>, Unsettled<Sent>>>) {
        for outcome in outcomes {
            match outcome {
                Ok(receipt) => self.settled(&receipt.redeem()),
                Err(unsettled) => {
                    if !matches!(unsettled.why(), Why::NotCurrent | Why::Stopped) {
                        self.seen().wrong.push(format!("{unsettled}"));
                    }
                }
            }
        }
        self.moved.notify_one();
    }

    fn settled(&self, sent: &Sent) {
        let state = self.state(sent.id);
        let mut seen = self.seen();
        if !matches!(state, Some(State::Done | State::Buried)) {
            seen.wrong.push(format!("{} may be acknowledged, and is {state:?}", sent.id));
        }
        let partition = &mut seen.partitions[sent.partition];
        if partition.generation != sent.generation {
            return;
        }
        partition.settled.insert(sent.offset);
        while partition.settled.remove(&partition.committed) {
            partition.committed += 1;
        }
        if partition.committed == self.ids[sent.partition].len() {
            partition.over = Some(self.began.elapsed());
        }
    }

    pub(super) fn state(&self, id: usize) -> Option<State> {
        let key = self.scope.key(id.to_string()).unwrap();
        self.store.look(&key).now_or_never().unwrap().unwrap().map(|entry| entry.record.state)
    }

    /// When a partition was committed to its end.
    pub(super) fn over(&self, partition: usize) -> Option<Duration> {
        self.seen().partitions[partition].over
    }

    /// The dependency comes up, and the dead-letter place.
    pub(super) fn release(&self) {
        self.seen().released = true;
    }

    pub(super) fn wrong(&self) -> Vec<String> {
        self.seen().wrong.clone()
    }

    pub(super) fn begun(&self, id: usize) -> usize {
        self.seen().by_id.get(&id).map_or(0, |runs| runs.begun)
    }

    /// The numbers of effects, of runs that vanished before them, and of letters.
    pub(super) fn effects(&self, id: usize) -> (u32, u32, u32) {
        let seen = self.seen();
        let runs = seen.by_id.get(&id).map_or((0, 0), |runs| (runs.effects, runs.vanished));
        (runs.0, runs.1, seen.letters.get(&id).copied().unwrap_or_default())
    }

    /// The handler.
    pub(super) async fn run(self: Arc<Self>, cx: Context, id: usize) -> std::result::Result<Effect, Failure> {
        let message = self.messages[&id];
        let running = Running::begin(self.clone(), id, cx.previous());
        tokio::time::sleep(message.takes).await;
        let mut wrong = match (message.behaviour, running.ended()) {
            (Behaviour::After(n, wrong), ended) if ended < n => Some(wrong),
            (Behaviour::Stuck, _) if !self.seen().released => Some(Wrong::Infrastructure),
            (Behaviour::Permanent | Behaviour::Unburiable, _) => {
                return Err(Failure::permanent("never"));
            }
            _ => None,
        };
        // One of a batch would take its neighbours with it.
        if self.plan.order == Order::Batches && matches!(wrong, Some(Wrong::Panics | Wrong::Hangs)) {
            wrong = Some(Wrong::Unknown);
        }
        match wrong {
            Some(Wrong::Retry) => Err(Failure::from("again")),
            Some(Wrong::Infrastructure) => Err(Failure::infrastructure("down")),
            Some(Wrong::Unknown) => Err(Failure::unknown("no answer")),
            // Without a word on the test's output.
            Some(Wrong::Panics) => resume_unwind(Box::new("planned")),
            Some(Wrong::Hangs) => std::future::pending().await,
            None => {
                self.seen().by_id.entry(id).or_default().effects += 1;
                let len = if message.behaviour == Behaviour::TooLong { TOO_LONG } else { 1 };
                Ok(Effect::done(Some(Bytes::from(vec![0; len]))))
            }
        }
    }
}

/// One run, until it ends or is dropped.
struct Running {
    world: Arc<World>,
    id: usize,
}

impl Running {
    fn begin(world: Arc<World>, id: usize, previous: Previous) -> Self {
        let mut seen = world.seen();
        let runs = seen.by_id.entry(id).or_default();
        runs.begun += 1;
        runs.now += 1;
        runs.vanished += u32::from(previous == Previous::Vanished);
        if runs.now > 1 {
            let wrong = format!("{id} runs twice at the same time, at {:?}", world.began.elapsed());
            seen.wrong.push(wrong);
        }
        drop(seen);
        Self { world, id }
    }

    /// The number of deliveries that ended before this one, which is counted now.
    fn ended(&self) -> u32 {
        let mut seen = self.world.seen();
        let runs = seen.by_id.entry(self.id).or_default();
        runs.ended += 1;
        runs.ended - 1
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.world.seen().by_id.entry(self.id).or_default().now -= 1;
    }
}

/// The store and the dead-letter place, as this world's consumers see them.
#[derive(Debug, Clone)]
pub(super) struct Servers(pub(super) Arc<World>);

impl Servers {
    async fn trip<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let now = self.0.began.elapsed();
        let outage =
            self.0.plan.outages.iter().find(|(from, length, _)| (*from..*from + *length).contains(&now));
        let lost = || Error::new(ErrorKind::Unavailable, "planned");
        match outage.map(|(_, _, outage)| outage) {
            None => {
                tokio::time::sleep(Duration::from_millis(1)).await;
                call.await
            }
            Some(Outage::Before) => Err(lost()),
            Some(Outage::After) => call.await.and(Err(lost())),
            Some(Outage::Hangs) => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Deduplicator for Servers {
    async fn claim(&self, requests: &[ClaimRequest]) -> Result<Vec<Claimed>> {
        self.trip(self.0.store.claim(requests)).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<Vec<Settled>> {
        let is_too_long = |s: &Settlement| matches!(&s.action, Settle::Complete { outcome: Some(o), .. } if o.len() >= TOO_LONG);
        if settlements.iter().any(is_too_long) {
            return Err(Error::new(ErrorKind::Invalid, "planned"));
        }
        self.trip(self.0.store.settle(settlements)).await
    }

    fn describe(&self) -> Description {
        self.0.store.describe()
    }
}

#[async_trait]
impl Graveyard<Sent> for Servers {
    async fn bury(&self, sent: &Sent, _: &Burial) -> std::result::Result<Letter, BuryError> {
        let World { plan, messages, .. } = &*self.0;
        tokio::time::sleep(Duration::from_millis(1)).await;
        let mut seen = self.0.seen();
        if plan.place_is_away && !seen.released {
            return Err("away".into());
        }
        if messages[&sent.id].behaviour == Behaviour::Unburiable {
            return Err(BuryError::Never("planned".into()));
        }
        *seen.letters.entry(sent.id).or_default() += 1;
        Ok(Letter::Whole)
    }
}
