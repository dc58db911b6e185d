//! A sample of messages: the latest of each partition.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ackonce::{Error, ErrorKind, Result};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

use crate::KafkaMessage;
use crate::driver::{Probe, client_error, connection};

const STEP: Duration = Duration::from_millis(50);

pub(super) fn sample(
    config: &ClientConfig,
    topics: &[String],
    count: usize,
    limit: Duration,
) -> Result<Vec<KafkaMessage>> {
    let scope: Arc<str> = "sample".into();
    let mut reading = connection(config);
    // A client that reads partitions of its own choice names a group and does not join it.
    reading.set("group.id", config.get("group.id").unwrap_or("ackonce-sample"));
    for (name, value) in [
        ("allow.auto.create.topics", "false"),
        ("auto.offset.reset", "earliest"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("enable.partition.eof", "true"),
        ("isolation.level", config.get("isolation.level").unwrap_or("read_committed")),
        ("queued.max.messages.kbytes", "4096"),
    ] {
        reading.set(name, value);
    }
    let client: BaseConsumer<Probe> =
        reading.create_with_context(Probe::new(&scope)).map_err(client_error)?;
    let deadline = Instant::now() + limit;
    let failed =
        |error: KafkaError| Error::new(ErrorKind::Unavailable, "a sample cannot be read").with_source(error);
    let assigned = tails(&client, topics, count, deadline).map_err(failed)?;
    let mut open = assigned.count();
    client.assign(&assigned).map_err(failed)?;
    let mut sampled = Vec::new();
    while open > 0 && sampled.len() < count && Instant::now() < deadline {
        match client.poll(STEP) {
            Some(Ok(record)) => sampled.push(KafkaMessage::new(record.detach())),
            Some(Err(KafkaError::PartitionEOF(_))) => open -= 1,
            Some(Err(error)) => return Err(failed(error)),
            None => {}
        }
    }
    Ok(sampled)
}

/// The partitions with messages, from where their last few begin.
fn tails(
    client: &BaseConsumer<Probe>,
    topics: &[String],
    count: usize,
    deadline: Instant,
) -> std::result::Result<TopicPartitionList, KafkaError> {
    let left = || deadline.saturating_duration_since(Instant::now());
    let mut all = Vec::new();
    for topic in topics {
        let metadata = client.fetch_metadata(Some(topic), left())?;
        let found = metadata.topics().iter().filter(|found| found.name() == topic);
        for partition in
            found.flat_map(|found| found.partitions()).filter(|partition| partition.leader() >= 0)
        {
            let (first, end) = client.fetch_watermarks(topic, partition.id(), left())?;
            if first < end {
                all.push((topic, partition.id(), first, end));
            }
        }
    }
    let each = i64::try_from(count.div_ceil(all.len().max(1))).unwrap_or(i64::MAX);
    let mut list = TopicPartitionList::new();
    for (topic, partition, first, end) in all {
        list.add_partition_offset(topic, partition, Offset::Offset(first.max(end.saturating_sub(each))))?;
    }
    Ok(list)
}
