//! The scheduler: it lets processes run for a few milliseconds each, and kills, stops and starts them.

use std::sync::Arc;

use crate::plan::Plan;
use crate::process::{Machine, Process};
use crate::world::{BEGIN, World};

/// Everything is settled this long after the last fault at the latest, in microseconds. A store that hangs is given up after
/// a minute.
const BOUND: u64 = 100_000_000;

/// A simulated broker, with the adapter's side of a process.
pub trait Broker: Send + Sync + 'static {
    /// Starts the tasks of a new process; it is called on the runtime of that.
    fn open(self: &Arc<Self>, process: Process);

    /// Time goes on.
    fn step(&self, now: u64);

    /// One of the broker's own faults.
    fn disturb(&self, now: u64);

    /// A process has died.
    fn died(&self, name: u32, now: u64);

    /// True if it has nothing left to deliver, and knows of all that was settled.
    fn is_finished(&self) -> bool;
}

/// The outcome of a run.
#[derive(Debug)]
pub struct Ran {
    /// Of all that happened.
    pub hash: u64,
    /// The promises that were broken.
    pub wrong: Vec<String>,
    /// All that happened, if it was to be kept.
    pub lines: Vec<String>,
    /// The number of faults.
    pub faults: u64,
    /// Its length by the simulated clock, in microseconds.
    pub took: u64,
}

/// The place of a process.
#[derive(Debug, Default)]
struct Slot {
    machine: Option<Machine>,
    frozen_until: u64,
    starts_at: u64,
}

/// Makes the run of a plan.
pub fn simulate<B: Broker>(plan: Plan, is_kept: bool, broker: impl FnOnce(&Arc<World>) -> Arc<B>) -> Ran {
    fastrand::seed(plan.seed);
    let world = World::new(plan, is_kept);
    let broker = broker(&world);
    let slots = (0..world.plan.processes).map(|_| Slot::default()).collect();
    let mut run = Scheduler { world, broker, slots, names: 0, now: BEGIN };
    run.run();
    let Scheduler { world, slots, now, .. } = run;
    drop(slots);
    let (hash, lines, wrong, faults) = world.take();
    Ran { hash, wrong, lines, faults, took: now - BEGIN }
}

struct Scheduler<B> {
    world: Arc<World>,
    broker: Arc<B>,
    slots: Vec<Slot>,
    names: u32,
    now: u64,
}

impl<B: Broker> Scheduler<B> {
    fn run(&mut self) {
        let healed = BEGIN + self.world.plan.faults_for;
        loop {
            let is_healed = self.now >= healed;
            self.now += if is_healed { 20 + self.world.roll(60) } else { 1 + self.world.roll(30) } * 1000;
            self.world.inner().apply_late(&self.world.plan, self.now);
            self.broker.step(self.now);
            if is_healed {
                self.heal();
            } else {
                self.strike();
            }
            let first = self.world.index(self.slots.len());
            for turn in 0..self.slots.len() {
                let slot = (first + turn) % self.slots.len();
                self.turn(slot);
            }
            if !self.world.inner().wrong.is_empty() {
                return;
            }
            if self.broker.is_finished() {
                return self.world.check_end(self.now);
            }
            if self.now > healed + BOUND {
                return self.world.wrong(self.now, "stuck: not all is settled");
            }
        }
    }

    fn heal(&mut self) {
        self.world.inner().store.down_until = 0;
        for slot in &mut self.slots {
            slot.frozen_until = slot.frozen_until.min(self.now);
            slot.starts_at = slot.starts_at.min(self.now);
        }
    }

    /// Perhaps one fault of a process, of the store or of the broker.
    fn strike(&mut self) {
        let (kind, long) = (self.world.roll(8), self.world.roll(5_000) * 1000);
        let at = self.world.index(self.slots.len());
        let (world, now) = (self.world.clone(), self.now);
        let slot = &mut self.slots[at];
        let who = slot.machine.as_ref().map(|machine| machine.process.name);
        let happens = |what: &str, whose| {
            let mut inner = world.inner();
            inner.fault(&world.plan, now, world.plan.process_faults, whose, what)
        };
        match (kind, who) {
            (0..=1, Some(who)) if happens("the process is killed", Some(who)) => {
                slot.machine = None;
                slot.starts_at = now + long / 3;
                world.inner().ledger.freeze(who, false);
                self.broker.died(who, now);
            }
            (2..=4, Some(who)) if happens("the process stands still", Some(who)) => {
                slot.frozen_until = now + long;
                world.inner().ledger.freeze(who, true);
            }
            (5, _) if happens("the store is away", None) => {
                world.inner().store.down_until = now + long;
            }
            (6..=7, _) if happens("the broker", None) => self.broker.disturb(now),
            _ => {}
        }
    }

    fn turn(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        match &slot.machine {
            None if slot.starts_at <= self.now => {
                self.names += 1;
                let machine = Machine::start(&self.world, self.names, self.now);
                let (broker, process) = (self.broker.clone(), machine.process.clone());
                machine.enter(async move { broker.open(process) });
                slot.machine = Some(machine);
                slot.frozen_until = 0;
            }
            None => {}
            Some(_) if slot.frozen_until > self.now => {}
            Some(machine) => {
                if slot.frozen_until > 0 {
                    slot.frozen_until = 0;
                    let name = machine.process.name;
                    self.world.log(self.now, name, format_args!("goes on"));
                    // Disturbed to the end: others may own its leases by now.
                    self.world.inner().ledger.disturbed(self.now, Some(name));
                    machine.wake(self.now);
                    // A few milliseconds, in which it finds its leases gone.
                    machine.run_until(self.now + 5_000);
                    self.world.inner().ledger.freeze(name, false);
                }
                machine.run_until(self.now);
            }
        }
    }
}
