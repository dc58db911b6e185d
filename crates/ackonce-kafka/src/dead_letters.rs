//! The dead-letter topic: body, key and headers as they came, and why they ended here.

use std::time::Duration;

use ackonce::{Burial, BuryError, Graveyard, Letter};
use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::books::KafkaDelivery;

/// The headers added to a dead letter. Those of the original are kept before them.
pub mod headers {
    /// Topic of the original.
    pub const TOPIC: &str = "ackonce-topic";
    /// Partition of the original.
    pub const PARTITION: &str = "ackonce-partition";
    /// Offset of the original.
    pub const OFFSET: &str = "ackonce-offset";
    /// Why it was buried.
    pub const ERROR: &str = "ackonce-error";
    /// Attempts counted.
    pub const ATTEMPTS: &str = "ackonce-attempts";
    /// The scope it was claimed in.
    pub const SCOPE: &str = "ackonce-scope";
    /// Its message ID, as bytes.
    pub const MESSAGE_ID: &str = "ackonce-message-id";
}

/// How long one dead letter may take to be confirmed before it is tried again.
const CONFIRM: Duration = Duration::from_secs(30);

/// Settings of a consumer that a producer would warn about.
const CONSUMER_ONLY: [&str; 17] = [
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
];

pub(crate) struct DeadLetters {
    topic: String,
    producer: FutureProducer,
}

impl DeadLetters {
    /// An idempotent producer with the consumer's connection settings.
    pub(crate) fn connect(
        consumer: &ClientConfig,
        topic: String,
    ) -> Result<Self, rdkafka::error::KafkaError> {
        let mut config = ClientConfig::new();
        for (name, value) in consumer.config_map() {
            if !CONSUMER_ONLY.contains(&name) && !name.starts_with("fetch.") {
                config.set(name, value);
            }
        }
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", CONFIRM.as_millis().to_string());
        Ok(Self { topic, producer: config.create()? })
    }
}

#[async_trait]
impl Graveyard<KafkaDelivery> for DeadLetters {
    async fn bury(&self, delivery: &KafkaDelivery, burial: &Burial) -> Result<Letter, BuryError> {
        let original = delivery.message.as_rdkafka();
        let record = rdkafka::Message::headers(original).map_or_else(OwnedHeaders::new, copy);
        let text =
            |headers: OwnedHeaders, key, value: &str| headers.insert(Header { key, value: Some(value) });
        let mut all = text(record, headers::TOPIC, delivery.message.topic());
        all = text(all, headers::PARTITION, &delivery.message.partition().to_string());
        all = text(all, headers::OFFSET, &delivery.message.offset().to_string());
        all = text(all, headers::ERROR, &burial.reason);
        all = text(all, headers::ATTEMPTS, &burial.attempts.to_string());
        all = text(all, headers::SCOPE, burial.key.scope().name());
        all = all.insert(Header { key: headers::MESSAGE_ID, value: Some(&burial.key.id()[..]) });
        let record = FutureRecord::<[u8], [u8]> {
            topic: &self.topic,
            partition: None,
            payload: rdkafka::Message::payload(original),
            key: delivery.message.key(),
            timestamp: None,
            headers: Some(all),
        };
        match self.producer.send(record, CONFIRM).await {
            Ok(_) => Ok(Letter::Whole),
            Err((error, _)) => Err(error.into()),
        }
    }
}

fn copy(original: &OwnedHeaders) -> OwnedHeaders {
    let mut copy = OwnedHeaders::new_with_capacity(original.count() + 7);
    for Header { key, value } in original.iter() {
        copy = copy.insert(Header { key, value });
    }
    copy
}
