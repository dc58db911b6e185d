//! The settings that clients share with the consumer, and the error of a client that cannot be made.

use ackonce::{Error, ErrorKind};
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

/// Settings of a consumer that a producer would warn about.
const CONSUMER_ONLY: [&str; 20] = [
    "group.id",
    "group.instance.id",
    "group.protocol",
    "group.remote.assignor",
    "partition.assignment.strategy",
    "session.timeout.ms",
    "heartbeat.interval.ms",
    "max.poll.interval.ms",
    "enable.auto.commit",
    "auto.commit.interval.ms",
    "enable.auto.offset.store",
    "auto.offset.reset",
    "enable.partition.eof",
    "isolation.level",
    "check.crcs",
    "queued.min.messages",
    "queued.max.messages.kbytes",
    "allow.auto.create.topics",
    "statistics.interval.ms",
    "debug",
];

/// The settings that a client of any kind understands.
pub(crate) fn connection(consumer: &ClientConfig) -> ClientConfig {
    let mut config = ClientConfig::new();
    for (name, value) in consumer.config_map() {
        if !CONSUMER_ONLY.contains(&name) && !name.starts_with("fetch.") {
            config.set(name, value);
        }
    }
    config
}

pub(crate) fn client_error(error: KafkaError) -> Error {
    Error::new(ErrorKind::Config, "the Kafka client could not be made").with_source(error)
}
