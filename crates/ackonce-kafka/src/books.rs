//! The tracker as the poll thread, the rebalance callback and the handlers share it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
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
    live: Arc<AtomicBool>,
    books: Arc<Books>,
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
            Stage::Running => Status::InFlight,
            Stage::Busy => Status::Busy,
            Stage::Retrying => Status::Retrying,
        };
        self.books.shelf().tracker.mark(&self.token, status);
    }
}

impl Books {
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn assign(&self, partitions: Vec<PartitionId>) {
        let mut shelf = self.shelf();
        for partition in partitions {
            if let Some(old) = shelf.live.insert(partition.clone(), Arc::new(AtomicBool::new(true))) {
                old.store(false, Ordering::Release);
            }
            shelf.tracker.assign(partition);
        }
    }

    /// Books a record. `None` if its partition is not assigned: a record of a revoked one that surfaced late.
    pub(crate) fn deliver(self: &Arc<Self>, message: Message) -> Option<KafkaDelivery> {
        let mut shelf = self.shelf();
        // The topic's name is shared by all its tokens: look the partition up, do not copy it.
        let id = (Arc::from(message.topic()), message.partition());
        let live = shelf.live.get(&id)?.clone();
        if !live.load(Ordering::Acquire) {
            return None;
        }
        if let Some(token) = shelf.tracker.delivered(&id, message.offset()) {
            return Some(KafkaDelivery { message, token, live, books: self.clone() });
        }
        // The broker has rewound: what was in flight belongs to the past.
        tracing::warn!(target: "ackonce", ?message, "the partition was rewound; its books begin anew");
        drop(shelf);
        self.assign(vec![id.clone()]);
        let mut shelf = self.shelf();
        let live = shelf.live.get(&id)?.clone();
        let token = shelf.tracker.delivered(&id, message.offset())?;
        Some(KafkaDelivery { message, token, live, books: self.clone() })
    }

    /// Books the end of a delivery.
    pub(crate) fn done(&self, outcome: Result<Receipt<KafkaDelivery>, Unsettled<KafkaDelivery>>) {
        let (token, status) = match outcome {
            Ok(receipt) => {
                let status = match receipt.how() {
                    SettledAs::Run => Status::Settled,
                    SettledAs::Duplicate { .. } => Status::Duplicate,
                    SettledAs::Buried => Status::Buried,
                };
                (receipt.redeem().token, status)
            }
            Err(unsettled) => (unsettled.delivery().token.clone(), Status::Abandoned),
        };
        self.close(&token, status);
    }

    /// Books a delivery that never reached the runner.
    pub(crate) fn abandon(&self, delivery: &KafkaDelivery) {
        self.close(&delivery.token, Status::Abandoned);
    }

    fn close(&self, token: &Token, status: Status) {
        self.shelf().tracker.mark(token, status);
        self.closed.notify_all();
    }

    pub(crate) fn open(&self) -> usize {
        self.shelf().tracker.open()
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
