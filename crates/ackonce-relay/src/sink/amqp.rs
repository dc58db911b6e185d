//! `amqp[s]://…?exchange=E&routing-key=K`: a message for each, mandatory and confirmed.

use ackonce::adapter::headers;
use ackonce::trace::{self, OutgoingSpan, TRACEPARENT, TRACESTATE};
use ackonce::{Context, Failure, Result};
use ackonce_amqp::lapin::BasicProperties;
use ackonce_amqp::lapin::types::{AMQPValue, FieldTable, ShortString};
use ackonce_amqp::{AmqpPublisher, AmqpRefusal};
use async_trait::async_trait;

use super::{STEP, Sink, sent};
use crate::RelayMessage;
use crate::amqp_url::AmqpUrl;
use crate::message::{is_of_trace, is_ours};
use crate::queues::queues;
use crate::url::{Parts, RelayUrlError};

/// `delivery_mode` of a message that outlives the broker's restart.
const PERSISTENT: u8 = 2;
/// Headers that the broker reads, from any source: addresses of more queues, for which it closes the channel if they are no
/// lists, and its own history.
const OF_THE_BROKER: [&str; 3] = ["CC", "BCC", "x-death"];
/// The longest text of a property, in bytes.
const SHORT: usize = 255;

/// An exchange.
#[derive(Clone)]
pub(super) struct AmqpTarget {
    url: String,
    exchange: String,
    routing_key: Option<String>,
    pub(super) queues: Vec<String>,
}

impl AmqpTarget {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let mut parts = Parts::of(text)?;
        let exchange = parts.take("exchange")?.unwrap_or_default();
        let routing_key = parts.take("routing-key")?;
        for (name, value) in [("exchange", Some(&exchange)), ("routing-key", routing_key.as_ref())] {
            if value.is_some_and(|value| value.len() > SHORT) {
                return Err(RelayUrlError::new(format!("its option `{name}` is over 255 bytes")));
            }
        }
        let url = AmqpUrl::of(&mut parts)?.url;
        // The default exchange has a binding for each queue, by its name.
        let by_name = routing_key.as_ref().filter(|_| exchange.is_empty());
        let queues = queues(&parts, by_name.cloned().as_slice());
        parts.nothing_more("exchange, routing-key and those of AMQP such as heartbeat")?;
        Ok(Self { url, exchange, routing_key, queues })
    }

    pub(super) fn open(&self, name: &str) -> Result<AmqpSink> {
        let publisher = AmqpPublisher::new(&self.url, name)?;
        Ok(AmqpSink { publisher, exchange: self.exchange.clone(), routing_key: self.routing_key.clone() })
    }
}

/// Publishes messages to an exchange.
#[derive(Debug)]
pub(super) struct AmqpSink {
    publisher: AmqpPublisher,
    exchange: String,
    /// That of each message, unless one was chosen.
    routing_key: Option<String>,
}

#[async_trait]
impl Sink for AmqpSink {
    fn carries_key(&self) -> bool {
        true
    }

    async fn check(&self) -> Result<()> {
        self.publisher.check(&self.exchange).await
    }

    async fn deliver(&self, cx: &Context, message: &RelayMessage) -> Result<(), Failure> {
        let key = match &self.routing_key {
            Some(key) => key,
            None => std::str::from_utf8(message.key().unwrap_or_default()).map_err(|_| {
                Failure::permanent("its key is not UTF-8, and so no routing key; set routing-key=K")
            })?,
        };
        let outgoing = trace::outgoing(cx, "rabbitmq", &self.exchange);
        let properties = properties(cx, message, outgoing.as_ref());
        sent(outgoing, self.publish(key, properties, message)).await
    }

    async fn close(&self) {
        self.publisher.close().await;
    }
}

impl AmqpSink {
    async fn publish(
        &self,
        key: &str,
        properties: BasicProperties,
        message: &RelayMessage,
    ) -> Result<(), Failure> {
        let sent = self.publisher.publish(&self.exchange, key, properties, message.payload_bytes()).await;
        sent.map_err(|refusal| match refusal {
            _ if refusal.is_about_the_message() => Failure::permanent(refusal),
            // The queue may be bound later, and other messages may lead elsewhere: attempts count.
            AmqpRefusal::Nowhere(_) => Failure::Retry(refusal.into()),
            _ => Failure::infrastructure(refusal),
        })
    }
}

/// The content of a message as properties. A trace context is left out where another one is written.
fn content(message: &RelayMessage, is_traced: bool) -> (BasicProperties, FieldTable) {
    let is_left_out = |name: &str| (is_traced && is_of_trace(name)) || OF_THE_BROKER.contains(&name);
    let mut table = FieldTable::default();
    let mut properties = BasicProperties::default().with_delivery_mode(PERSISTENT);
    if let RelayMessage::Amqp(message) = message {
        // As they came, tables and lists too.
        for (name, value) in message.properties().headers().iter().flat_map(|table| table.inner()) {
            if !is_ours(name.as_str()) && !is_left_out(name.as_str()) {
                table.insert(name.clone(), value.clone());
            }
        }
        properties = described(properties, message.properties());
    } else {
        for (name, value) in message.headers().into_iter().filter(|(name, _)| !is_left_out(name)) {
            if let Ok(name) = ShortString::try_new(&*name) {
                table.insert(name, text(&value));
            }
        }
        if let Some(kind) = message.content_type().and_then(|kind| ShortString::try_new(&*kind).ok()) {
            properties = properties.with_content_type(kind);
        }
    }
    (properties, table)
}

fn text(bytes: &[u8]) -> AMQPValue {
    AMQPValue::LongString(bytes.into())
}

fn properties(cx: &Context, message: &RelayMessage, outgoing: Option<&OutgoingSpan>) -> BasicProperties {
    // One that is not traced here passes with the headers that it has.
    let (mut properties, mut table) = content(message, outgoing.is_some());
    if let Some(outgoing) = outgoing {
        let context = outgoing.context();
        table.insert(TRACEPARENT.into(), text(context.traceparent().as_bytes()));
        if let Some(state) = context.tracestate() {
            table.insert(TRACESTATE.into(), text(state.as_bytes()));
        }
    }
    let id = cx.key().id();
    table.insert(headers::MESSAGE_ID.into(), text(id));
    table.insert("ackonce-idempotency-key".into(), text(cx.idempotency_key(STEP).as_bytes()));
    if properties.message_id().is_none()
        && let Some(id) = std::str::from_utf8(id).ok().and_then(|id| ShortString::try_new(id).ok())
    {
        properties = properties.with_message_id(id);
    }
    properties.with_headers(table)
}

/// The properties that describe a message, without those that let it expire or have the broker refuse it.
fn described(mut properties: BasicProperties, original: &BasicProperties) -> BasicProperties {
    macro_rules! keep {
        ($($with:ident $get:ident),*) => {$(
            if let Some(value) = original.$get() {
                properties = properties.$with(value.clone());
            }
        )*};
    }
    keep!(
        with_content_type content_type, with_content_encoding content_encoding, with_priority priority,
        with_correlation_id correlation_id, with_message_id message_id, with_timestamp timestamp, with_type kind,
        with_app_id app_id
    );
    properties
}

#[cfg(test)]
mod tests {
    use ackonce_kafka::KafkaMessage;
    use ackonce_kafka::rdkafka::Timestamp;
    use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    use super::*;

    #[test]
    fn addresses_of_other_sources_are_left_out() {
        let mut headers = OwnedHeaders::new();
        for name in ["CC", "BCC", "x-death", "cc", "tenant"] {
            headers = headers.insert(Header { key: name, value: Some("orders") });
        }
        let record = OwnedMessage::new(None, None, "t".into(), Timestamp::NotAvailable, 1, 7, Some(headers));
        let (_, table) = content(&RelayMessage::Kafka(KafkaMessage::new(record)), false);
        let kept: Vec<_> = table.inner().keys().map(ShortString::as_str).collect();
        assert_eq!(kept, ["cc", "tenant"]);
    }
}
