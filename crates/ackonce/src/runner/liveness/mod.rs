//! A property: every message ends settled within a bound that its plan gives, and a fault of one partition costs
//! the others nothing but the time its handlers run. On a simulated broker and a clock that stands still.
//!
//! It fails within twenty cases if, in the dispatcher, `has_room` counts jobs that are parked or wait; if a burial keeps its
//! handler's slot; if the back-off does not grow with failures that the store refunds; if a trip that is never answered is
//! never given up; if one request that the store refuses fails its trip; if a lane is not freed. Within some hundred, if the
//! heartbeat does not look at the clock while a renewal is under way.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod plan;
mod world;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use proptest::prelude::*;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use self::plan::{Behaviour, Order, Plan, Wrong, plan};
use self::world::{Sent, Servers, World};
use crate::adapter::{Mode, Ordered};
use crate::handler::{Answer, Batch, Item};
use crate::record::State;
use crate::runner::Runner;
use crate::ticket::Job;

/// A consumer: its loop and its input. Dropping it is a kill.
struct Consumer {
    input: mpsc::Sender<Vec<Ordered<Sent>>>,
    tasks: JoinSet<()>,
}

fn consumer(world: &Arc<World>) -> Consumer {
    let (input, chunks) = mpsc::channel(1);
    let (servers, at) = (Arc::new(Servers(world.clone())), world.clone());
    let handler = Batch(move |items: Vec<Item<usize>>| {
        let at = at.clone();
        async move {
            let run = |Item { cx, message }| -> futures_util::future::BoxFuture<'static, Answer> {
                Box::pin(at.clone().run(cx, message))
            };
            join_all(items.into_iter().map(run)).await
        }
    });
    let runner =
        Runner::with_heartbeat_task(servers.clone(), &world.scope, handler, world.plan.settings(), servers);
    let runner = runner.unwrap();
    let mode = if world.plan.order == Order::Batches { Mode::Batches } else { Mode::Each };
    let (mut tasks, done) = (JoinSet::new(), world.clone());
    tasks.spawn(async move {
        runner.consume(chunks, mode, move |ended| done.ended(ended)).await.unwrap();
    });
    Consumer { input, tasks }
}

impl Consumer {
    /// Sends it a partition from its commit on, as long as the partition is its own.
    fn feed(&mut self, world: &Arc<World>, partition: usize) {
        let (generation, from) = world.take_away(partition);
        let (world, input, room) =
            (world.clone(), self.input.clone(), Arc::new(Semaphore::new(world.plan.per_lane)));
        self.tasks.spawn(async move {
            for (offset, id) in world.ids[partition].clone().into_iter().enumerate().skip(from) {
                let _room = room.clone().acquire_owned().await.unwrap();
                if world.generation(partition) != generation {
                    return;
                }
                let lane = (world.plan.order != Order::Unordered).then_some(partition as u64);
                let key = world.scope.key(id.to_string()).unwrap();
                let sent = Sent { world: world.clone(), id, partition, offset, generation, _room };
                if input.send(vec![Ordered { lane, job: Job::new(key, sent) }]).await.is_err() {
                    return;
                }
            }
        });
    }
}

/// Moves and kills as planned, for ever.
async fn disturb(
    world: Arc<World>,
    mut first: Option<Consumer>,
    mut second: Consumer,
    mut at_first: Vec<bool>,
) {
    let mut events: Vec<_> = world.plan.moves.iter().map(|(at, partition)| (*at, Some(*partition))).collect();
    events.extend(world.plan.kill.map(|at| (at, None)));
    events.sort_by_key(|(at, _)| *at);
    for (at, partition) in events {
        tokio::time::sleep_until(world.began + at).await;
        match partition.map(|partition| partition % at_first.len()) {
            Some(partition) => {
                at_first[partition] = !at_first[partition] && first.is_some();
                let to = first.as_mut().filter(|_| at_first[partition]).unwrap_or(&mut second);
                to.feed(&world, partition);
            }
            None => {
                first = None;
                for partition in (0..at_first.len()).filter(|partition| at_first[*partition]) {
                    second.feed(&world, partition);
                }
                at_first.fill(false);
            }
        }
    }
    std::future::pending().await
}

/// When all of these partitions are over.
async fn over(world: &World, partitions: &[usize], limit: Duration) -> Result<(), String> {
    let all = async {
        while partitions.iter().any(|partition| world.over(*partition).is_none()) {
            world.moved.notified().await;
        }
    };
    tokio::time::timeout(limit.saturating_sub(world.began.elapsed()), all).await.map_err(|_| {
        let late: Vec<_> = partitions.iter().filter(|partition| world.over(**partition).is_none()).collect();
        format!("partitions {late:?} are not over after {limit:?}")
    })
}

async fn live(plan: Plan) -> Result<(), String> {
    let world = World::new(plan);
    let plan = &world.plan;
    let all: Vec<usize> = (0..plan.partitions.len()).collect();
    let messages = plan.messages();
    let waits = |partition: &usize| world.ids[*partition].iter().any(|id| plan.waits(&messages[id]));
    let (stuck, free): (Vec<_>, Vec<_>) = all.iter().copied().partition(waits);

    let (mut first, second) = (consumer(&world), consumer(&world));
    all.iter().for_each(|partition| first.feed(&world, *partition));
    let mut disturbing = JoinSet::new();
    disturbing.spawn(disturb(world.clone(), Some(first), second, vec![true; all.len()]));

    // Nothing that is stuck costs the others more than their bound.
    let bound = |partition: &usize| plan.bound(*partition);
    let limit = free.iter().map(bound).max().unwrap_or_default();
    over(&world, &free, limit).await?;
    for partition in &free {
        let (took, bound) = (world.over(*partition), plan.bound(*partition));
        if took.is_none_or(|took| took > bound) {
            return Err(format!("partition {partition} was over after {took:?}, not {bound:?}"));
        }
    }
    // For as long as one is stuck it is asked less and less often.
    tokio::time::sleep(Duration::from_secs(60)).await;
    let asked = world.began.elapsed();
    for (id, message) in messages.iter().filter(|(_, message)| message.behaviour == Behaviour::Stuck) {
        let (begun, most) = (world.begun(*id), plan.most_asked(*id, asked));
        if begun > most {
            return Err(format!(
                "{id} ({message:?}) was asked {begun} times in {asked:?}, at most {most} are right"
            ));
        }
    }
    world.release();
    let more = stuck.iter().map(bound).max().unwrap_or_default();
    over(&world, &stuck, asked + more + Duration::from_secs(30)).await?;
    check(&world)
}

/// Nothing is lost, and nothing doubled beyond the class.
fn check(world: &World) -> Result<(), String> {
    let mut wrong = world.wrong();
    for (id, message) in world.plan.messages() {
        let (effects, vanished, letters) = world.effects(id);
        let state = world.state(id);
        let is_unsure =
            matches!(message.behaviour, Behaviour::After(_, Wrong::Unknown | Wrong::Panics | Wrong::Hangs));
        if effects > 1 + vanished {
            wrong.push(format!("{id}: {effects} effects, and {vanished} runs after one that vanished"));
        }
        match state {
            Some(State::Done) if effects == 0 => wrong.push(format!("{id}: done without an effect")),
            Some(State::Buried) if letters == 0 && message.behaviour != Behaviour::Unburiable => {
                wrong.push(format!("{id}: lost, buried without a letter"));
            }
            Some(State::Done | State::Buried) => {}
            other => wrong.push(format!("{id}: {other:?}")),
        }
        if !world.plan.is_calm() {
            continue;
        }
        let expected = match message.behaviour {
            Behaviour::After(n, Wrong::Infrastructure) if n > 0 => State::Done,
            Behaviour::After(n, _) if n >= plan::ATTEMPTS => State::Buried,
            Behaviour::Succeeds | Behaviour::After(..) | Behaviour::Stuck => State::Done,
            Behaviour::Permanent | Behaviour::Unburiable | Behaviour::TooLong => State::Buried,
        };
        if state != Some(expected) || letters > 1 || (vanished > 0 && !is_unsure) {
            wrong.push(format!(
                "{id} ({message:?}): {state:?}, {letters} letters, {vanished} vanished, in a calm world"
            ));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, max_shrink_iters: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_message_ends_settled_within_the_bound_of_its_plan(plan in plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let outcome = runtime.block_on(live(plan));
        prop_assert!(outcome.is_ok(), "{}", outcome.unwrap_err());
    }
}
