//! The tracker as the poll thread, the rebalance callback and the handlers share it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ackonce::{Delivery, Receipt, SettledAs, Stage, Unsettled};
use rdkafka::{Offset, TopicPartitionList};

use crate::tracker::{OffsetTracker, PartitionId, Status, Token};
use crate::{CommitCounts, Message};

/// Held for map operations only, by threads that never wait for each other while they hold it.
#[derive(Debug, Default)]
pub(crate) struct Books {
    shelf: Mutex<Shelf>,
    /// The bytes of all deliveries that are still held.
    bytes: AtomicUsize,
    /// Told whenever a delivery is closed.
    closed: Condvar,
}

#[derive(Debug, Default)]
struct Shelf {
    tracker: OffsetTracker,
    /// Whether each assignment still stands.
    live: HashMap<PartitionId, Arc<AtomicBool>>,
    counts: CommitCounts,
}

/// One delivered record under one assignment.
#[derive(Debug)]
pub(crate) struct KafkaDelivery {
    pub(crate) message: Message,
    pub(crate) token: Token,
    bytes: usize,
    /// Whether it has waited, so that the books know it as something else than in flight.
    waited: AtomicBool,
    live: Arc<AtomicBool>,
    books: Arc<Books>,
}

impl Drop for KafkaDelivery {
    fn drop(&mut self) {
        self.books.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Delivery for KafkaDelivery {
    type Message = Message;

    fn message(&self) -> Message {
        self.message.clone()
    }

    fn is_current(&self) -> bool {
        self.live.load(Ordering::Acquire)
    }

    fn note(&self, stage: Stage) {
        let status = match stage {
            // In flight is how it was booked.
            Stage::Claiming | Stage::Burying => return,
            Stage::Running if !self.waited.load(Ordering::Relaxed) => return,
            Stage::Running => Status::InFlight,
            Stage::Busy => Status::Busy,
            Stage::Retrying => Status::Retrying,
        };
        self.waited.store(true, Ordering::Relaxed);
        self.books.shelf().tracker.mark(&self.token, status);
    }
}

impl Shelf {
    /// Begins an assignment; what was delivered under an earlier one is not current any more.
    fn assign(&mut self, partition: PartitionId) -> Arc<AtomicBool> {
        let live = Arc::new(AtomicBool::new(true));
        if let Some(old) = self.live.insert(partition.clone(), live.clone()) {
            old.store(false, Ordering::Release);
        }
        self.tracker.assign(partition);
        live
    }
}

impl Books {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn assign(&self, partitions: Vec<PartitionId>) {
        let mut shelf = self.shelf();
        for partition in partitions {
            shelf.assign(partition);
        }
    }

    /// Books records as they came. Those of a partition that is not assigned, which surfaced late, are left out.
    pub(crate) fn deliver(self: &Arc<Self>, records: Vec<Message>) -> Vec<KafkaDelivery> {
        let mut shelf = self.shelf();
        // Records come in runs of one partition: it is looked up once for each.
        let mut run: Option<(PartitionId, Arc<AtomicBool>)> = None;
        let mut booked = Vec::with_capacity(records.len());
        for message in records {
            let same =
                |((topic, n), _): &(PartitionId, _)| *n == message.partition() && **topic == *message.topic();
            if !run.as_ref().is_some_and(same) {
                let id = (Arc::from(message.topic()), message.partition());
                run = shelf.live.get(&id).cloned().map(|live| (id, live));
            }
            let Some((id, live)) = run.as_mut().filter(|(_, live)| live.load(Ordering::Acquire)) else {
                continue;
            };
            let mut token = shelf.tracker.delivered(id, message.offset());
            if token.is_none() {
                // The broker has rewound: what was in flight belongs to the past.
                tracing::warn!(target: "ackonce", ?message, "the partition was rewound; its books begin anew");
                *live = shelf.assign(id.clone());
                token = shelf.tracker.delivered(id, message.offset());
            }
            let Some(token) = token else { continue };
            let bytes = message.size();
            self.bytes.fetch_add(bytes, Ordering::Relaxed);
            booked.push(KafkaDelivery {
                message,
                token,
                bytes,
                waited: AtomicBool::new(false),
                live: live.clone(),
                books: self.clone(),
            });
        }
        booked
    }

    /// Books the end of deliveries.
    pub(crate) fn done(&self, ended: Vec<Result<Receipt<KafkaDelivery>, Unsettled<KafkaDelivery>>>) {
        let mut shelf = self.shelf();
        for outcome in &ended {
            let (delivery, status) = match outcome {
                Ok(receipt) => (
                    receipt.delivery(),
                    match receipt.how() {
                        SettledAs::Run => Status::Settled,
                        SettledAs::Duplicate { .. } => Status::Duplicate,
                        SettledAs::Buried => Status::Buried,
                    },
                ),
                Err(unsettled) => (unsettled.delivery(), Status::Abandoned),
            };
            shelf.tracker.mark(&delivery.token, status);
        }
        drop(shelf);
        self.closed.notify_all();
    }

    /// Books a delivery that never reached the runner.
    pub(crate) fn abandon(&self, delivery: &KafkaDelivery) {
        self.shelf().tracker.mark(&delivery.token, Status::Abandoned);
        self.closed.notify_all();
    }

    pub(crate) fn open(&self) -> usize {
        self.shelf().tracker.open()
    }

    /// The bytes of all deliveries that are still held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Waits until a delivery is closed, at most this long.
    pub(crate) fn wait(&self, most: Duration) {
        let shelf = self.shelf();
        drop(self.closed.wait_timeout(shelf, most).unwrap_or_else(PoisonError::into_inner));
    }

    /// Stops intake of these partitions and waits, at most `drain`, until nothing of them is in work. Returns
    /// how much still is.
    pub(crate) fn drain(&self, partitions: &[PartitionId], drain: Duration) -> usize {
        let until = Instant::now() + drain;
        let mut shelf = self.shelf();
        for partition in partitions {
            if let Some(live) = shelf.live.get(partition) {
                live.store(false, Ordering::Release);
            }
        }
        loop {
            let open = partitions.iter().map(|p| shelf.tracker.open_in(p)).sum();
            let left = until.saturating_duration_since(Instant::now());
            if open == 0 || left.is_zero() {
                return open;
            }
            shelf = self.closed.wait_timeout(shelf, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(crate) fn revoke(&self, partitions: &[PartitionId]) {
        let mut shelf = self.shelf();
        for partition in partitions {
            if let Some(live) = shelf.live.remove(partition) {
                live.store(false, Ordering::Release);
            }
            shelf.tracker.revoke(partition);
        }
    }

    /// What should be committed, as the driver wants it: the next offset to read, nothing added.
    pub(crate) fn to_commit(&self) -> Option<TopicPartitionList> {
        let shelf = self.shelf();
        let mut list = TopicPartitionList::new();
        for ((topic, partition), next) in shelf.tracker.to_commit() {
            // The only error is an offset that no broker gives: a negative one.
            list.add_partition_offset(topic, *partition, Offset::Offset(next)).ok()?;
        }
        (list.count() > 0).then_some(list)
    }

    pub(crate) fn committed(&self, list: &TopicPartitionList) {
        let mut shelf = self.shelf();
        shelf.counts.commits += 1;
        for element in list.elements() {
            if let Offset::Offset(next) = element.offset() {
                shelf.tracker.committed(&(element.topic().into(), element.partition()), next);
            }
        }
    }

    pub(crate) fn commit_failed(&self) {
        self.shelf().counts.failed += 1;
    }

    pub(crate) fn counts(&self) -> CommitCounts {
        self.shelf().counts
    }

    pub(crate) fn census(&self) -> HashMap<Status, usize> {
        self.shelf().tracker.census()
    }
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    fn record(partition: i32, offset: i64) -> Message {
        let at = Timestamp::NotAvailable;
        Message::new(OwnedMessage::new(Some(vec![0; 1000]), None, "t".into(), at, partition, offset, None))
    }

    #[test]
    fn records_are_booked_by_assignment_and_weighed_while_they_are_held() {
        let books = Arc::new(Books::default());
        books.assign(vec![("t".into(), 0), ("t".into(), 1)]);
        let of = |deliveries: &[KafkaDelivery]| -> Vec<_> {
            deliveries.iter().map(|d| (d.token.partition.1, d.token.offset, d.is_current())).collect()
        };
        let first = books.deliver(vec![record(0, 5), record(0, 6), record(2, 1), record(1, 9)]);
        assert_eq!(of(&first), [(0, 5, true), (0, 6, true), (1, 9, true)], "partition 2 is not ours");
        let held = books.bytes();
        assert!((3000..5000).contains(&held), "{held} bytes for three records of 1000");
        // The broker rewinds within one poll: the past is not current any more.
        let again = books.deliver(vec![record(0, 6), record(0, 7)]);
        assert_eq!(of(&again), [(0, 6, true), (0, 7, true)]);
        assert_eq!(of(&first), [(0, 5, false), (0, 6, false), (1, 9, true)]);
        assert_eq!(books.open(), 3, "two of the new assignment of partition 0, one of partition 1");
        drop((first, again));
        assert_eq!(books.bytes(), 0);
    }
}
