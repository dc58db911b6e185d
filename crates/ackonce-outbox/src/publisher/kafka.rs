//! Kafka: the destination is the topic.

use ackonce::Failure;
use ackonce_kafka::KafkaPublisher;
use ackonce_kafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders};
use async_trait::async_trait;

use crate::{OutboxMessage, OutboxPublisher};

/// The header that a `KafkaConsumer` reads first.
const MESSAGE_ID: &str = "message-id";

/// Publishes to the topic that the destination names, with the header `message-id`.
#[async_trait]
impl OutboxPublisher for KafkaPublisher {
    async fn publish(&self, message: &OutboxMessage) -> Result<(), Failure> {
        let headers = OwnedHeaders::new_with_capacity(message.headers.len() + 1);
        let headers = headers.insert(Header { key: MESSAGE_ID, value: Some(&message.id) });
        let headers = message.headers.iter().fold(headers, |headers, (name, value)| {
            headers.insert(Header { key: name, value: Some(&value[..]) })
        });
        let sent = self.send(&message.to, message.key.as_deref(), Some(&message.payload), headers).await;
        sent.map_err(|error| failure(&message.to, error))
    }
}

fn failure(topic: &str, error: KafkaError) -> Failure {
    use RDKafkaErrorCode as Code;
    let text = format!("topic {topic}: {error}");
    if KafkaPublisher::is_refused(&error) {
        return Failure::permanent(text);
    }
    match error.rdkafka_error_code() {
        // Other topics may be there.
        Some(
            Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::InvalidTopic
            | Code::TopicAuthorizationFailed
            | Code::NotEnoughReplicas
            | Code::NotEnoughReplicasAfterAppend,
        ) => Failure::Retry(text.into()),
        // It may be in the topic all the same: its ID tells.
        _ => Failure::infrastructure(text),
    }
}
