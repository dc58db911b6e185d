//! `kafka://HOST:PORT/TOPIC`: a record for each message, confirmed by all replicas in sync.

use std::time::Duration;

use ackonce::trace::{self, OutgoingSpan, TRACEPARENT, TRACESTATE};
use ackonce::{Context, Error, ErrorKind, Failure, Result};
use ackonce_kafka::rdkafka::error::{KafkaError, RDKafkaErrorCode};
use ackonce_kafka::rdkafka::message::{Header, Headers, OwnedHeaders};
use ackonce_kafka::{ClientConfig, KafkaPublisher};
use async_trait::async_trait;

use super::{STEP, Sink, sent};
use crate::RelayMessage;
use crate::kafka_url::{KafkaUrl, producer};
use crate::message::{is_of_trace, is_ours};
use crate::queues::queues;
use crate::url::{Parts, RelayUrlError};

/// The time limit for the answer of a broker at the start.
const CHECK: Duration = Duration::from_secs(10);

/// A topic.
#[derive(Clone)]
pub(super) struct KafkaTarget {
    config: ClientConfig,
    topic: String,
    pub(super) queues: Vec<String>,
}

impl KafkaTarget {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let mut parts = Parts::of(text)?;
        let url = KafkaUrl::of(&mut parts)?;
        parts.nothing_more("kafka.NAME")?;
        let [topic] = &url.topics[..] else {
            return Err(RelayUrlError::new("a sink is one topic; write kafka://HOST:PORT/TOPIC"));
        };
        let config = producer(url.config)?;
        let queues = queues(&parts, &url.topics);
        Ok(Self { config, topic: topic.clone(), queues })
    }

    /// The producer's limit on one record; librdkafka's default is 1,000,000 bytes.
    pub(super) fn max_bytes(&self) -> Option<usize> {
        self.config.get("message.max.bytes").map_or(Some(1_000_000), |bytes| bytes.parse().ok())
    }

    pub(super) fn open(&self, name: &str) -> Result<KafkaSink> {
        let failed =
            |error| Error::new(ErrorKind::Config, "the Kafka producer cannot be made").with_source(error);
        let publisher = KafkaPublisher::new(self.config.clone(), name).map_err(failed)?;
        let one_by_one = publisher.one_by_one().map_err(failed)?;
        Ok(KafkaSink { publisher, one_by_one, topic: self.topic.clone() })
    }
}

/// Sends messages to a topic by one producer.
#[derive(Debug)]
pub(super) struct KafkaSink {
    publisher: KafkaPublisher,
    /// For records that a broker has refused, perhaps because of one beside them.
    one_by_one: KafkaPublisher,
    topic: String,
}

#[async_trait]
impl Sink for KafkaSink {
    fn carries_key(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<()> {
        let (publisher, topic) = (self.publisher.clone(), self.topic.clone());
        let checked = tokio::task::spawn_blocking(move || publisher.check(&topic, CHECK)).await;
        match checked {
            Ok(Ok(())) | Err(_) => Ok(()),
            Ok(Err(error)) => {
                let kind = if is_refusal(&error) { ErrorKind::Config } else { ErrorKind::Unavailable };
                Err(Error::new(kind, format!("the topic {}", self.topic)).with_source(error))
            }
        }
    }

    async fn deliver(&self, cx: &Context, message: &RelayMessage) -> Result<(), Failure> {
        let outgoing = trace::outgoing(cx, "kafka", &self.topic);
        let headers = headers(cx, message, outgoing.as_ref());
        sent(outgoing, self.send(message, headers)).await
    }
}

impl KafkaSink {
    async fn send(&self, message: &RelayMessage, headers: OwnedHeaders) -> Result<(), Failure> {
        let key = message.key();
        let payload = (!message.is_tombstone()).then(|| message.payload());
        let sent = self.publisher.send(&self.topic, key, payload, headers.clone()).await;
        let sent = match sent {
            Err(error) if KafkaPublisher::is_refused(&error) => {
                self.one_by_one.send(&self.topic, key, payload, headers).await
            }
            sent => sent,
        };
        sent.map_err(|error| match KafkaPublisher::is_refused(&error) {
            true => Failure::permanent(format!("topic {}: {error}", self.topic)),
            // It may be in the topic all the same: its ID tells.
            false => Failure::infrastructure(format!("topic {}: {error}", self.topic)),
        })
    }
}

/// The message's own headers, then its trace context and its identity.
fn headers(cx: &Context, message: &RelayMessage, outgoing: Option<&OutgoingSpan>) -> OwnedHeaders {
    let key = cx.idempotency_key(STEP);
    let mut headers = OwnedHeaders::new();
    // One that is not traced here passes with the headers that it has.
    for (name, value) in message.headers().iter().filter(|(name, _)| outgoing.is_none() || !is_of_trace(name))
    {
        headers = headers.insert(Header { key: name, value: Some(&**value) });
    }
    if let Some(outgoing) = outgoing {
        let context = outgoing.context();
        headers = headers.insert(Header { key: TRACEPARENT, value: Some(&context.traceparent()) });
        if let Some(state) = context.tracestate() {
            headers = headers.insert(Header { key: TRACESTATE, value: Some(state) });
        }
    }
    if let Some(kind) = message.content_type()
        && !headers.iter().any(|header| header.key.eq_ignore_ascii_case("content-type"))
    {
        headers = headers.insert(Header { key: "content-type", value: Some(&*kind) });
    }
    debug_assert!(!headers.iter().any(|header| is_ours(header.key)));
    headers
        .insert(Header { key: ackonce::adapter::headers::MESSAGE_ID, value: Some(&cx.key().id()[..]) })
        .insert(Header { key: "ackonce-idempotency-key", value: Some(&key) })
}

fn is_refusal(error: &KafkaError) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(
            Code::Authentication
                | Code::SaslAuthenticationFailed
                | Code::TopicAuthorizationFailed
                | Code::ClusterAuthorizationFailed
                | Code::UnknownTopicOrPartition
                | Code::UnknownTopic
                | Code::InvalidTopic
        )
    )
}
