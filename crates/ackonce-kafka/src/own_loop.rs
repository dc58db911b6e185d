//! The low level: one's own consumer loop around [`Runner::process`](ackonce::Runner::process).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use std::time::SystemTime;

use ackonce::adapter::{Delivery, Receipt, SettledAs};
use ackonce::trace::{SpanOrigin, TraceContext};
use rdkafka::consumer::{CommitMode, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::OwnedMessage;
use rdkafka::{Offset, TopicPartitionList};

use crate::KafkaMessage;
use crate::tracker::{PartitionId, PartitionTracker, Status};

/// The offsets of a consumer loop of your own. Messages may be processed side by side: a partition's commit follows its
/// contiguous settled prefix, and a message that was not settled stays in front of it.
///
/// Clones share the same offsets. Set `enable.auto.commit` to `false`, or the driver commits unsettled messages.
#[derive(Debug, Clone, Default)]
pub struct Offsets(Arc<Mutex<HashMap<PartitionId, Arc<Partition>>>>);

/// One partition, from its first record to its revocation.
#[derive(Debug)]
struct Partition {
    id: PartitionId,
    current: AtomicBool,
    tracker: Mutex<PartitionTracker>,
}

/// A delivery of a consumer loop of your own, for [`Job::new`](ackonce::adapter::Job::new).
///
/// Only a receipt lets it be committed:
/// ```compile_fail,E0308
/// # use ackonce_kafka::{KafkaDelivery, commit, rdkafka::consumer::{CommitMode, StreamConsumer}};
/// fn commit_too_early(delivery: KafkaDelivery, consumer: &StreamConsumer) {
///     commit(delivery, consumer, CommitMode::Async);
/// }
/// ```
#[derive(Debug)]
pub struct KafkaDelivery {
    message: KafkaMessage,
    partition: Arc<Partition>,
}

impl Offsets {
    /// Offsets of no partition yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a record: `offsets.deliver(borrowed.detach())`. Records of a partition come in the order of their offsets;
    /// an earlier offset (a seek, a reset, a re-created topic) starts the partition anew, and deliveries from before
    /// change nothing any more.
    #[must_use]
    pub fn deliver(&self, record: OwnedMessage) -> KafkaDelivery {
        let message = KafkaMessage::new(record);
        let id = (Arc::from(message.topic()), message.partition());
        let mut partitions = lock(&self.0);
        let partition = partitions.entry(id.clone()).or_insert_with(|| Partition::new(id.clone()));
        if !lock(&partition.tracker).delivered(message.offset(), Instant::now()) {
            partition.end();
            *partition = Partition::new(id);
            lock(&partition.tracker).delivered(message.offset(), Instant::now());
        }
        KafkaDelivery { message, partition: partition.clone() }
    }

    /// Forgets partitions that were revoked: deliveries that have not begun are handed back, and those that run are not
    /// committed, since another member of the group reads the partition by now. Call it from
    /// [`ConsumerContext::pre_rebalance`].
    pub fn revoked(&self, partitions: &TopicPartitionList) {
        let mut known = lock(&self.0);
        for element in partitions.elements() {
            if let Some(partition) = known.remove(&(Arc::from(element.topic()), element.partition())) {
                partition.end();
            }
        }
    }
}

impl Partition {
    fn new(id: PartitionId) -> Arc<Self> {
        Arc::new(Self { id, current: AtomicBool::new(true), tracker: Mutex::default() })
    }

    fn end(&self) {
        self.current.store(false, Ordering::Release);
    }

    fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire)
    }
}

impl KafkaDelivery {
    /// The message.
    #[must_use]
    pub fn as_message(&self) -> &KafkaMessage {
        &self.message
    }
}

impl Delivery for KafkaDelivery {
    type Message = KafkaMessage;

    fn message(&self) -> KafkaMessage {
        self.message.clone()
    }

    /// False once its partition was revoked or read from an earlier offset.
    fn is_current(&self) -> bool {
        self.partition.is_current()
    }

    fn place(&self) -> String {
        format!("{:?}", self.message)
    }

    fn published(&self) -> Option<SystemTime> {
        self.message.published()
    }

    fn trace_context(&self) -> Option<TraceContext> {
        self.message.trace_context()
    }

    fn origin(&self) -> SpanOrigin<'_> {
        self.message.trace_origin()
    }
}

/// Commits a settled delivery: the offset past it, or past the last one that is settled without a gap, or none while an
/// earlier delivery of its partition is not settled. A crash before the commit redelivers messages that the store knows.
///
/// # Errors
/// The driver refused the commit, or under [`CommitMode::Sync`] the broker; the next commit of the partition includes it.
pub fn commit<C: ConsumerContext>(
    receipt: Receipt<KafkaDelivery>,
    consumer: &impl Consumer<C>,
    mode: CommitMode,
) -> KafkaResult<()> {
    let status = match receipt.how() {
        SettledAs::Run | SettledAs::Stale => Status::Settled,
        SettledAs::Duplicate { .. } => Status::Duplicate,
        SettledAs::Buried => Status::Buried,
    };
    let KafkaDelivery { message, partition } = receipt.redeem();
    // Held across the call, so that commits reach the driver in the order of their offsets.
    let mut tracker = lock(&partition.tracker);
    tracker.mark(message.offset(), status, Instant::now());
    let Some(next) = tracker.to_store().filter(|_| partition.is_current()) else { return Ok(()) };
    let mut offsets = TopicPartitionList::with_capacity(1);
    offsets.add_partition_offset(&partition.id.0, partition.id.1, Offset::Offset(next))?;
    consumer.commit(&offsets, mode)?;
    tracker.stored(next);
    Ok(())
}

/// Held for a few steps and for handing a commit to the driver, never across an await.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rdkafka::Timestamp;

    use super::*;

    fn record(offset: i64) -> OwnedMessage {
        OwnedMessage::new(None, None, "orders".into(), Timestamp::NotAvailable, 3, offset, None)
    }

    #[test]
    fn a_revoked_partition_is_not_current_and_begins_anew() {
        let offsets = Offsets::new();
        let before = offsets.deliver(record(7));
        let mut revoked = TopicPartitionList::new();
        revoked.add_partition("orders", 4);
        offsets.revoked(&revoked);
        assert!(before.is_current(), "another partition was revoked");
        revoked.add_partition("orders", 3);
        offsets.revoked(&revoked);
        let after = offsets.deliver(record(7));
        assert!(!before.is_current() && after.is_current());
    }

    #[test]
    fn a_partition_that_is_read_from_an_earlier_offset_begins_anew() {
        let offsets = Offsets::new();
        let (first, second) = (offsets.deliver(record(7)), offsets.deliver(record(8)));
        assert!(first.is_current() && second.is_current());
        let again = offsets.deliver(record(7));
        assert!(!first.is_current() && !second.is_current() && again.is_current());
    }
}
