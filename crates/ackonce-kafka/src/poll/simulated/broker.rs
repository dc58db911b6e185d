//! A topic's logs and its commits, beside the group.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ackonce_sim::{Broker, Process, World};
use rdkafka::Timestamp;
use rdkafka::message::OwnedMessage;

use super::GAP;
use super::group::{Event, Group};
use super::reader;
use crate::KafkaMessage;

#[derive(Debug)]
pub(super) struct SimulatedKafka {
    pub(super) world: Arc<World>,
    logs: Vec<Vec<u32>>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    group: Group,
    committed: Vec<i64>,
}

impl SimulatedKafka {
    pub(super) fn new(world: Arc<World>) -> Self {
        let partitions = world.plan.partitions;
        let mut logs = vec![Vec::new(); partitions];
        for id in &world.plan.published {
            logs[world.index(partitions)].push(*id);
        }
        world.lanes.set(logs.clone()).unwrap();
        let group = Group::new(partitions, world.roll(2) == 0);
        let state = Mutex::new(State { group, committed: vec![0; partitions] });
        Self { world, logs, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turn(&self) -> usize {
        self.world.index(16)
    }

    pub(super) fn poll(&self, name: u32, now: u64) -> Vec<Event> {
        let turn = self.turn();
        let events = self.state().group.poll(name, now, turn);
        events.iter().for_each(|event| self.world.log(now, name, format_args!("{event:?}")));
        events
    }

    pub(super) fn revoked(&self, name: u32, partitions: &[usize]) {
        self.state().group.revoked(name, partitions);
    }

    pub(super) fn committed(&self, partition: usize) -> i64 {
        self.state().committed[partition]
    }

    /// The next record from that offset on. A member that was thrown out is given records as well.
    pub(super) fn read(&self, partition: usize, position: i64) -> Option<KafkaMessage> {
        let at = usize::try_from((position + GAP - 1) / GAP).unwrap_or(0);
        let id = self.logs[partition].get(at)?;
        let (key, offset) = (Some(id.to_string().into_bytes()), offset(at));
        let partition = i32::try_from(partition).unwrap();
        let topic = "simulated".into();
        Some(KafkaMessage::new(OwnedMessage::new(
            None,
            key,
            topic,
            Timestamp::NotAvailable,
            partition,
            offset,
            None,
        )))
    }

    /// Takes the commit of a member that owns the partition. None may pass a message that is not settled.
    pub(super) fn commit(&self, name: u32, partition: usize, next: i64, now: u64) -> bool {
        if !self.state().group.owns(name, partition) {
            return false;
        }
        self.world.log(now, name, format_args!("commit {next} of {partition}"));
        let log = self.logs[partition].iter().enumerate();
        for (_, id) in log.filter(|(at, _)| offset(*at) < next) {
            if !self.world.is_settled(*id) {
                self.world.wrong(now, format!("{next} of {partition} is committed, and {id} is not settled"));
            }
        }
        self.state().committed[partition] = next;
        true
    }
}

impl Broker for SimulatedKafka {
    fn open(self: &Arc<Self>, process: Process) {
        reader::open(self, process);
    }

    fn step(&self, now: u64) {
        let turn = self.turn();
        self.state().group.step(now, turn);
    }

    fn disturb(&self, now: u64) {
        let turn = self.turn();
        self.world.log(now, 0, format_args!("rebalance"));
        self.state().group.rebalance(turn);
    }

    /// The group notices by its silence.
    fn died(&self, _: u32, _: u64) {}

    fn is_finished(&self) -> bool {
        let state = self.state();
        let ends = self.logs.iter().zip(&state.committed);
        ends.into_iter().all(|(log, committed)| log.is_empty() || *committed > offset(log.len() - 1))
    }
}

fn offset(at: usize) -> i64 {
    i64::try_from(at).unwrap() * GAP
}
