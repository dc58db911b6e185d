//! The part of the poll thread that talks to the driver, in the order in which the poll thread does it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use ackonce::adapter::{Intake, Mode, Ordered};
use ackonce::{IdSource, MessageIds, OnMissing, Order};
use ackonce_sim::{Bug, Process};
use tokio::sync::mpsc;

use super::broker::SimulatedKafka;
use super::group::Event;
use crate::delays::Delays;
use crate::intake::admit;
use crate::partition::{Assignment, Budget, Limits, PartitionDelivery, done};
use crate::tracker::Status;

/// Between two commits, and the longest wait for the handlers of revoked partitions; in microseconds.
const COMMIT_INTERVAL: u64 = 100_000;
const DRAIN: u64 = 500_000;
/// Before a partition is read again from a message that was handed back.
const RETURN: u64 = 50_000;

struct Lane {
    partition: usize,
    assignment: Arc<Assignment>,
    position: i64,
    wait_until: u64,
}

struct Reader {
    broker: Arc<SimulatedKafka>,
    process: Process,
    intake: Intake,
    limits: Limits,
    chunks: mpsc::Sender<Vec<Ordered<PartitionDelivery>>>,
    lanes: Vec<Lane>,
    revocation: Option<(Vec<usize>, u64)>,
    last_commit: u64,
}

pub(super) fn open(broker: &Arc<SimulatedKafka>, process: Process) {
    let (chunks, input) = mpsc::channel(1);
    let (runner, world) = (process.runner::<PartitionDelivery>(), process.world.clone());
    let (plan, this) = (&world.plan, process.clone());
    let (bug, kept) = (plan.has(Bug::AckedUnsettled), world.clone());
    tokio::spawn(async move {
        let ended = runner.consume(input, Mode::Each, move |ended| {
            let unsettled = ended.iter().filter_map(|end| end.as_ref().err()).filter(|_| bug);
            unsettled
                .map(|u| u.delivery())
                .for_each(|d| d.assignment.mark(d.message.offset(), Status::Settled));
            done(ended, |_| false);
        });
        if let Err(error) = ended.await {
            kept.wrong(this.now(), format!("the consumer ends: {error}"));
        }
    });
    let order = if plan.in_order { Order::Source } else { Order::Unordered };
    let intake = Intake {
        scope: Process::scope(),
        ids: MessageIds::first_of([IdSource::Key]),
        on_missing: OnMissing::Stop,
        fingerprints: false,
        order,
    };
    let ahead = plan.read_ahead();
    let limits = Limits { messages: ahead * 2, bytes: usize::MAX / 4, partition: ahead, ahead };
    let (broker, lanes) = (broker.clone(), Vec::new());
    let reader = Reader { broker, process, intake, limits, chunks, lanes, revocation: None, last_commit: 0 };
    tokio::spawn(reader.run());
}

impl Reader {
    async fn run(mut self) {
        loop {
            for event in self.broker.poll(self.process.name, self.process.now()) {
                self.act_on(event).await;
            }
            self.revoke_if_drained().await;
            self.take_turn();
            if self.process.now() >= self.last_commit + COMMIT_INTERVAL {
                self.commit().await;
            }
            self.process.wait(20).await;
        }
    }

    async fn act_on(&mut self, event: Event) {
        match event {
            Event::Assign(partitions) => {
                self.finish_revocation().await;
                for partition in partitions {
                    self.lanes.retain(|lane| lane.partition != partition);
                    let id = ("simulated".into(), i32::try_from(partition).unwrap());
                    let assignment = Assignment::new(id, Arc::default(), Delays::default());
                    let position = self.broker.committed(partition);
                    self.lanes.push(Lane { partition, assignment, position, wait_until: 0 });
                }
            }
            Event::Revoke(partitions) => {
                self.finish_revocation().await;
                self.of(&partitions).for_each(|lane| lane.assignment.end());
                self.revocation = Some((partitions, self.process.now() + DRAIN));
            }
            Event::Lost(partitions) => {
                self.revocation = None;
                self.of(&partitions).for_each(|lane| lane.assignment.end());
                self.lanes.retain(|lane| !partitions.contains(&lane.partition));
            }
        }
    }

    fn of(&self, partitions: &[usize]) -> impl Iterator<Item = &Lane> {
        self.lanes.iter().filter(|lane| partitions.contains(&lane.partition))
    }

    async fn revoke_if_drained(&mut self) {
        let Some((partitions, until)) = &self.revocation else { return };
        let running: usize = self.of(partitions).map(|lane| lane.assignment.running()).sum();
        if running == 0 || self.process.now() >= *until {
            self.finish_revocation().await;
        }
    }

    async fn finish_revocation(&mut self) {
        let Some((partitions, _)) = self.revocation.take() else { return };
        self.commit().await;
        self.broker.revoked(self.process.name, &partitions);
        self.lanes.retain(|lane| !partitions.contains(&lane.partition));
    }

    fn take_turn(&mut self) {
        let Ok(permit) = self.chunks.try_reserve() else { return };
        let (now, world) = (self.process.now(), &self.process.world);
        for lane in self.lanes.iter_mut().filter(|lane| lane.assignment.take_handed_back()) {
            let oldest = lane.assignment.tracker().oldest();
            if let Some((offset, ..)) = oldest.filter(|_| !world.plan.has(Bug::NotAskedAgain)) {
                world.log(now, self.process.name, format_args!("{} again from {offset}", lane.partition));
                lane.assignment = lane.assignment.restarted();
                (lane.position, lane.wait_until) = (offset, now + RETURN);
            }
        }
        let mut chunk = Vec::new();
        let loads: Vec<_> = self.lanes.iter().map(|lane| lane.assignment.load()).collect();
        let mut budget = Budget::new(self.limits, loads.iter().copied());
        let unlimited = world.plan.has(Bug::NoLimit);
        for (lane, mut load) in self.lanes.iter_mut().zip(loads) {
            let mut records = VecDeque::new();
            let is_ready = lane.assignment.is_live() && lane.wait_until <= now;
            while is_ready
                && (unlimited || budget.room(load).is_ok())
                && let Some(record) = self.broker.read(lane.partition, lane.position)
            {
                budget.take(load, record.size());
                load.messages += 1;
                load.ahead += 1;
                lane.position = record.offset() + 1;
                records.push_back(record);
            }
            chunk.extend(lane.assignment.deliver(&mut records, Instant::now()));
            if lane.assignment.load().ahead > self.limits.ahead {
                world.wrong(now, "a partition has more in hand than its limit");
            }
        }
        let admitted: Vec<_> = chunk.into_iter().map(|d| admit(&self.intake, d).unwrap()).collect();
        if !admitted.is_empty() {
            permit.send(admitted);
        }
    }

    /// Gives the offsets that have moved to the driver, which sends them to the broker.
    async fn commit(&mut self) {
        self.last_commit = self.process.now();
        let is_early = self.process.world.plan.has(Bug::AckedDelivered);
        for Lane { partition, assignment, .. } in &self.lanes {
            let next = match is_early {
                true => assignment.tracker().last_delivered().map(|last| last + 1),
                false => assignment.tracker().to_store(),
            };
            let Some(next) = next else { continue };
            assignment.tracker().stored(next);
            self.process.wait(3).await;
            let (name, now) = (self.process.name, self.process.now());
            if self.process.world.call_fails(now, name, "a commit, refused") {
                assignment.tracker().refused();
                continue;
            }
            let is_taken = self.broker.commit(name, *partition, next, now);
            self.process.wait(3).await;
            if is_taken {
                assignment.tracker().committed(next);
            }
        }
    }
}
