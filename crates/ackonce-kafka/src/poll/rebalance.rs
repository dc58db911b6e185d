//! Partitions come and go. Nothing here waits: a revocation is answered in the turn that finds the running handlers of
//! its partitions finished, or its time over, and the other partitions go on meanwhile.

use std::time::{Duration, Instant};

use rdkafka::TopicPartitionList;
use rdkafka::consumer::Consumer;

use super::Poller;
use crate::delays::{Delays, longest_wait};
use crate::driver::{Event, assign, unassign};
use crate::partition::{Assignment, Lane};
use crate::tracker::PartitionId;

/// The time limit for the driver to answer a seek.
const SEEK: Duration = Duration::from_millis(500);

/// A revocation that has not been answered.
#[derive(Debug)]
pub(crate) struct Revocation {
    list: TopicPartitionList,
    ids: Vec<PartitionId>,
    until: Instant,
}

impl Poller {
    pub(crate) fn act_on_events(&mut self) {
        for event in self.consumer.context().take_events() {
            match event {
                Event::Assign(list) => self.assigned(&list),
                Event::Revoke(list) => self.revoked(list),
                Event::Committed(answers) => self.committed(answers),
                Event::TopicId { topic, id, replaces } => self.topic_id(&topic, &id, replaces),
            }
        }
    }

    /// Splits each partition into a queue of its own before the assignment is applied, so that no record comes
    /// outside of it.
    fn assigned(&mut self, list: &TopicPartitionList) {
        self.finish_revocation();
        self.health.rebalanced();
        tracing::info!(target: "ackonce", scope = self.scope(), partitions = ?ids(list), "assigned");
        for id in ids(list) {
            // Before the new handle: dropping an old one ends the call-backs of the queue that both share.
            self.lanes.retain(|lane| lane.assignment.id != id);
            let Some(queue) = self.consumer.split_partition_queue(&id.0, id.1) else {
                tracing::error!(target: "ackonce", scope = self.scope(), topic = &*id.0, partition = id.1,
                    "the partition has no queue");
                continue;
            };
            let hop = longest_wait(&self.settings.retry_topics, &id.0);
            let delays = Delays::new(self.settings.group.clone(), &self.settings.retry_topics);
            let assignment = Assignment::new(id.clone(), self.control.wake.clone(), delays);
            let mut lane = Lane::new(assignment, queue, self.control.wake.clone(), hop);
            lane.topic_id = self.recreated.ids.get(&id.0).cloned();
            self.lanes.push(lane);
        }
        let sum = self.lanes.len();
        if sum > self.settings.limits.messages {
            tracing::warn!(target: "ackonce", scope = self.scope(), partitions = sum, max_in_flight = self.settings.limits.messages,
                "with_max_in_flight is below the number of partitions: as many stuck messages stop all of them");
        }
        let list = &self.beginning_of_recreated(list);
        if let Err(error) = assign(&self.consumer, list) {
            tracing::error!(target: "ackonce", scope = self.scope(), %error, "the assignment was not taken");
        }
        // A pause outlives a revocation; nothing is paused here, and a client of the user's own may have.
        if list.count() > 0
            && let Err(error) = self.consumer.resume(list)
        {
            tracing::debug!(target: "ackonce", scope = self.scope(), %error, "partitions not resumed");
        }
        self.compare_assigned(list);
    }

    fn revoked(&mut self, list: TopicPartitionList) {
        self.finish_revocation();
        self.health.rebalanced();
        let ids = ids(&list);
        // Lost partitions belong to others already: waiting helps nobody. Running handlers go on under their leases, and the
        // new owner finds its claim or its record.
        let lost = self.consumer.assignment_lost();
        for lane in self.lanes.iter_mut().filter(|lane| ids.contains(&lane.assignment.id)) {
            lane.revoked = true;
            lane.forget();
            lane.assignment.end();
        }
        let drain = if lost { Duration::ZERO } else { self.settings.rebalance_timeout };
        tracing::info!(target: "ackonce", scope = self.scope(), partitions = ?ids, lost, "revoked");
        self.revocation = Some(Revocation { list, ids, until: Instant::now() + drain });
        self.revoke_if_drained();
    }

    /// Answers a revocation once nothing of it runs.
    pub(crate) fn revoke_if_drained(&mut self) {
        let Some(revocation) = &self.revocation else { return };
        let lanes = self.lanes.iter().filter(|lane| revocation.ids.contains(&lane.assignment.id));
        let running: usize = lanes.map(|lane| lane.assignment.running()).sum();
        if running == 0 || Instant::now() >= revocation.until || self.consumer.assignment_lost() {
            if running > 0 {
                tracing::info!(target: "ackonce", scope = self.scope(), partitions = ?revocation.ids, running, "handlers of revoked \
                    partitions run on; the next owner of a partition waits for them, or finds their records");
            }
            self.finish_revocation();
        }
    }

    /// Answers a revocation at once: nothing is in work any more.
    pub(crate) fn revoke_now(&mut self) {
        self.finish_revocation();
    }

    fn finish_revocation(&mut self) {
        let Some(Revocation { list, ids, .. }) = self.revocation.take() else { return };
        // The driver commits the stored offsets before it lets the partitions go.
        if !self.consumer.assignment_lost() {
            self.store_offsets_now();
        }
        if let Err(error) = unassign(&self.consumer, &list) {
            tracing::error!(target: "ackonce", scope = self.scope(), %error, "the partitions were not given up");
        }
        for lane in self.lanes.extract_if(.., |lane| ids.contains(&lane.assignment.id)) {
            self.health.forget(&lane.assignment.id);
            let mut lane = lane;
            lane.drain();
        }
    }

    /// Each partition with a message that was handed back is read again from its first unsettled message, after a
    /// back-off: the books of all running messages are closed, so no commit may pass them. A message that took effect
    /// is found in the store.
    pub(crate) fn return_handed_back(&mut self, now: Instant) {
        for lane in self.lanes.iter_mut().filter(|lane| !lane.revoked) {
            if !lane.assignment.take_handed_back() {
                continue;
            }
            let (offset, resumed) = {
                let tracker = lane.assignment.tracker();
                (tracker.oldest().map(|(offset, ..)| offset), tracker.resume())
            };
            let Some(offset) = offset else { continue };
            lane.returns = if resumed == lane.returned_from { lane.returns.saturating_add(1) } else { 1 };
            lane.returned_from = resumed;
            let wait = self.settings.backoff.after(lane.returns);
            lane.restart(offset);
            lane.wait_until = Some(now + wait);
            tracing::info!(target: "ackonce", scope = self.health.scope(), topic = &*lane.assignment.id.0, partition = lane.assignment.id.1, offset,
                wait_ms = wait.as_millis(), "a message was handed back: the partition is read again from it");
        }
    }

    /// Moves the driver to where partitions are read next. The driver answers at once, without a broker; one that is
    /// in the middle of a rebalance refuses, and is asked again.
    pub(crate) fn seek(&mut self, now: Instant) {
        let due = |lane: &&mut Lane| !lane.revoked && lane.wait_until.is_none_or(|until| until <= now);
        for lane in self.lanes.iter_mut().filter(due) {
            let Some(to) = lane.seek_to else { continue };
            let (topic, partition) = (&*lane.assignment.id.0, lane.assignment.id.1);
            match self.consumer.seek(topic, partition, to, SEEK) {
                Ok(()) => lane.seek_to = None,
                Err(error) => {
                    lane.wait_until = Some(now + SEEK);
                    if let Some(unsaid) = self.quiet.ask(&format!("seek {topic}/{partition}")) {
                        tracing::warn!(target: "ackonce", scope = self.health.scope(), topic, partition, ?to, %error, unsaid,
                            "the partition was not sought; trying again");
                    }
                }
            }
        }
    }
}

pub(crate) fn ids(list: &TopicPartitionList) -> Vec<PartitionId> {
    list.elements().iter().map(|e| (e.topic().into(), e.partition())).collect()
}
