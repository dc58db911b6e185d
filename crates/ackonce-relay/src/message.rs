//! A message of any source, as sinks see it.

use std::borrow::Cow;

use ackonce::trace::{OutgoingSpan, TRACEPARENT, TRACESTATE, TraceContext};
use ackonce_amqp::lapin::types::AMQPValue;
use ackonce_kafka::rdkafka::message::Header;
use ackonce_webhook::Event;
use bytes::Bytes;

/// Headers of ours, on messages that came by a retry topic or a delay queue or from another relay. They are not passed on.
const OURS: &str = "ackonce-";

/// Headers of a webhook's request that are about its connection or its sender's rights.
const OF_THE_REQUEST: [&str; 11] = [
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];

/// A message of any source. Cloning is cheap.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RelayMessage {
    /// A Kafka record.
    Kafka(ackonce_kafka::KafkaMessage),
    /// An AMQP message.
    Amqp(ackonce_amqp::AmqpMessage),
    /// A verified event of a webhook.
    Webhook(Event),
}

/// Keeps a message alive for its payload.
struct Held<M>(M);

impl AsRef<[u8]> for Held<ackonce_kafka::KafkaMessage> {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

impl AsRef<[u8]> for Held<ackonce_amqp::AmqpMessage> {
    fn as_ref(&self) -> &[u8] {
        self.0.payload()
    }
}

impl RelayMessage {
    /// The payload; empty for a Kafka tombstone.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        match self {
            Self::Kafka(message) => message.payload(),
            Self::Amqp(message) => message.payload(),
            Self::Webhook(event) => event.payload(),
        }
    }

    /// The payload, shared with the message.
    #[must_use]
    pub fn payload_bytes(&self) -> Bytes {
        match self {
            Self::Kafka(message) => Bytes::from_owner(Held(message.clone())),
            Self::Amqp(message) => Bytes::from_owner(Held(message.clone())),
            Self::Webhook(event) => event.payload().clone(),
        }
    }

    /// True for a Kafka record without a payload.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        matches!(self, Self::Kafka(message) if message.is_tombstone())
    }

    /// The record key, or the routing key; webhooks have none.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        match self {
            Self::Kafka(message) => message.key(),
            Self::Amqp(message) => Some(message.routing_key().as_bytes()),
            Self::Webhook(_) => None,
        }
    }

    /// The content type: a header of that name, or the AMQP property.
    #[must_use]
    pub fn content_type(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Kafka(message) => {
                let mut headers = message.all_headers();
                let header = headers.find(|header| header.key.eq_ignore_ascii_case("content-type"))?;
                std::str::from_utf8(header.value?).ok().map(Cow::Borrowed)
            }
            Self::Amqp(message) => {
                message.properties().content_type().as_ref().map(|kind| Cow::Borrowed(kind.as_str()))
            }
            Self::Webhook(event) => {
                event.headers()?.get(http::header::CONTENT_TYPE)?.to_str().ok().map(Cow::Borrowed)
            }
        }
    }

    /// The headers, but for those of Ackonce itself. AMQP headers that are tables or lists are left out.
    #[must_use]
    pub fn headers(&self) -> Vec<(Cow<'_, str>, Cow<'_, [u8]>)> {
        match self {
            Self::Kafka(message) => message
                .all_headers()
                .filter(|header| !is_ours(header.key))
                .map(|Header { key, value }| (Cow::Borrowed(key), Cow::Borrowed(value.unwrap_or_default())))
                .collect(),
            Self::Amqp(message) => {
                let all = message.properties().headers().iter().flat_map(|table| table.inner());
                all.filter(|(name, _)| !is_ours(name.as_str()))
                    .filter_map(|(name, value)| Some((Cow::Borrowed(name.as_str()), text(value)?)))
                    .collect()
            }
            Self::Webhook(event) => {
                let all = event.headers().into_iter().flatten();
                all.filter(|(name, _)| !is_ours(name.as_str()) && !OF_THE_REQUEST.contains(&name.as_str()))
                    .map(|(name, value)| (Cow::Borrowed(name.as_str()), Cow::Borrowed(value.as_bytes())))
                    .collect()
            }
        }
    }

    /// The trace context to send on with it: that of `outgoing`, else the one that it came with, which nobody here records.
    #[must_use]
    pub fn passed_on(&self, outgoing: Option<&OutgoingSpan>) -> Option<TraceContext> {
        if let Some(outgoing) = outgoing {
            return Some(outgoing.context().clone());
        }
        let headers = self.headers();
        let values = |name: &'static str| {
            let all = headers.iter().filter(move |(key, _)| key.eq_ignore_ascii_case(name));
            all.map(|(_, value)| &**value)
        };
        TraceContext::of_headers(values(TRACEPARENT), values(TRACESTATE))
    }

    /// The origin, as names (`Topic`, `Routing-Key`) and values.
    #[must_use]
    pub fn origin(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        match self {
            Self::Kafka(message) => {
                let (topic, partition, offset) = message.origin();
                vec![
                    ("Topic", topic.into()),
                    ("Partition", partition.to_string().into()),
                    ("Offset", offset.to_string().into()),
                ]
            }
            Self::Amqp(message) => {
                vec![("Exchange", message.exchange().into()), ("Routing-Key", message.routing_key().into())]
            }
            Self::Webhook(event) => {
                event.kind().map(|kind| ("Event-Type", kind.into())).into_iter().collect()
            }
        }
    }
}

/// True for the headers of a trace context, which a sink writes anew.
pub(crate) fn is_of_trace(name: &str) -> bool {
    [TRACEPARENT, TRACESTATE].iter().any(|of_trace| name.eq_ignore_ascii_case(of_trace))
}

pub(crate) fn is_ours(name: &str) -> bool {
    name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

fn text(value: &AMQPValue) -> Option<Cow<'_, [u8]>> {
    let number = |text: String| Some(Cow::Owned(text.into_bytes()));
    match value {
        AMQPValue::LongString(text) => Some(text.as_bytes().into()),
        AMQPValue::ShortString(text) => Some(text.as_str().as_bytes().into()),
        AMQPValue::ByteArray(bytes) => Some(bytes.as_slice().into()),
        AMQPValue::Boolean(value) => number(value.to_string()),
        AMQPValue::ShortShortInt(n) => number(n.to_string()),
        AMQPValue::ShortShortUInt(n) => number(n.to_string()),
        AMQPValue::ShortInt(n) => number(n.to_string()),
        AMQPValue::ShortUInt(n) => number(n.to_string()),
        AMQPValue::LongInt(n) => number(n.to_string()),
        AMQPValue::LongUInt(n) => number(n.to_string()),
        AMQPValue::LongLongInt(n) => number(n.to_string()),
        AMQPValue::Timestamp(n) => number(n.to_string()),
        AMQPValue::Float(n) => number(n.to_string()),
        AMQPValue::Double(n) => number(n.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ackonce_kafka::rdkafka::Timestamp;
    use ackonce_kafka::rdkafka::message::{OwnedHeaders, OwnedMessage};

    use super::*;

    #[test]
    fn a_record_shows_its_content_and_not_our_own_headers() {
        let text = |key, value| Header { key, value: Some(value) };
        let headers = OwnedHeaders::new()
            .insert(text("Content-Type", "application/json"))
            .insert(text("ackonce-message-id", "of another relay"));
        let record = OwnedMessage::new(
            Some(b"{}".to_vec()),
            Some(b"k".to_vec()),
            "t".into(),
            Timestamp::NotAvailable,
            1,
            7,
            Some(headers),
        );
        let message = RelayMessage::Kafka(ackonce_kafka::KafkaMessage::new(record));
        assert_eq!((message.payload(), &message.payload_bytes()[..]), (&b"{}"[..], &b"{}"[..]));
        assert_eq!((message.key(), message.is_tombstone()), (Some(&b"k"[..]), false));
        assert_eq!(message.content_type().as_deref(), Some("application/json"));
        assert_eq!(message.headers().len(), 1);
        assert_eq!(message.origin()[2], ("Offset", "7".into()));
    }
}
