//! Reads single records, without a subscription, to compare them with their digests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::{ClientConfig, Message as _, Offset, TopicPartitionList};

use crate::driver::Probe;
use crate::partition::RecordDigest;
use crate::tracker::PartitionId;

/// The time limit for a broker to answer.
const ANSWER: Duration = Duration::from_secs(5);
const STEP: Duration = Duration::from_millis(20);

/// A comparison's result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compared {
    Same,
    /// The partition is another one, and the sign of it.
    Changed(&'static str),
    /// Retention or compaction has removed the record.
    Gone,
}

pub(crate) struct Reader(Arc<BaseConsumer<Probe>>);

impl Reader {
    /// `config` has the connection and the group. The group is not joined, and nothing is committed for it.
    pub(crate) fn new(config: &ClientConfig, scope: &Arc<str>) -> KafkaResult<Self> {
        let mut config = config.clone();
        // From the leader alone: another replica may be behind.
        config.remove("client.rack");
        for (name, value) in [
            ("auto.offset.reset", "error"),
            ("enable.partition.eof", "true"),
            // The record may have come under any level, and its offset is all that is asked for.
            ("isolation.level", "read_uncommitted"),
            ("queued.min.messages", "1"),
            ("queued.max.messages.kbytes", "1024"),
            ("fetch.message.max.bytes", "65536"),
            ("fetch.wait.max.ms", "10"),
            // Its default of a second would pass between two partitions.
            ("fetch.queue.backoff.ms", "0"),
        ] {
            config.set(name, value);
        }
        Ok(Self(Arc::new(config.create_with_context(Probe::new(scope))?)))
    }

    /// Compares the record at the digest's offset with it.
    ///
    /// # Errors
    /// A broker that refuses, or does not answer in time.
    pub(crate) fn compare(
        &self,
        (topic, partition): &PartitionId,
        known: RecordDigest,
    ) -> KafkaResult<Compared> {
        let (first, end) = self.0.fetch_watermarks(topic, *partition, ANSWER)?;
        if known.offset >= end {
            return Ok(Compared::Changed("its log ends before a record that was delivered"));
        }
        if known.offset < first {
            return Ok(Compared::Gone);
        }
        // Split, so that nothing of another partition is taken for this one's.
        let Some(queue) = self.0.split_partition_queue(topic, *partition) else {
            return Err(KafkaError::Canceled);
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, *partition, Offset::Offset(known.offset))?;
        self.0.assign(&list)?;
        let until = Instant::now() + ANSWER;
        let answer = loop {
            // Errors of the connection and log lines.
            let _ = self.0.poll(Duration::ZERO);
            match queue.poll(STEP) {
                Some(Ok(record)) if record.offset() == known.offset => {
                    break Ok(match RecordDigest::of(&record) == known {
                        true => Compared::Same,
                        false => Compared::Changed("a record that was delivered is another one now"),
                    });
                }
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => break Ok(Compared::Gone),
                Some(Err(error)) => break Err(error),
                None if Instant::now() >= until => break Err(KafkaError::Canceled),
                None => {}
            }
        };
        self.0.unassign()?;
        answer
    }
}
