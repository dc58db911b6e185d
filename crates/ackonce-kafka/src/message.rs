//! A Kafka record as handlers see it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ackonce::adapter::{Identify, hex};
use ackonce::trace::{SpanOrigin, TRACEPARENT, TRACESTATE, TraceContext};
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::{Message as _, Timestamp};
use sha2::{Digest, Sha256};

use crate::headers;

/// A Kafka record. Cloning is cheap.
#[derive(Clone)]
pub struct KafkaMessage(Arc<Inner>);

struct Inner {
    record: OwnedMessage,
    /// Places of headers whose names are not UTF-8: the driver panics when it is asked for them.
    unreadable: Vec<usize>,
    /// Places of the headers of a trace: a trace that is not recorded should cost no walk through all headers.
    traces: Vec<usize>,
    size: usize,
    /// It came by a retry topic of this consumer, so that the headers of a hop are its own.
    hop: bool,
}

impl KafkaMessage {
    /// Wraps a record. A consumer loop of your own takes it with [`Offsets::deliver`](crate::Offsets::deliver).
    ///
    /// A header whose name is not UTF-8 is left out. The driver panics on such a name; the panic is caught here, once
    /// for each record, which needs `panic = "unwind"`.
    #[must_use]
    pub fn new(record: OwnedMessage) -> Self {
        let (mut unreadable, mut traces) = (Vec::new(), Vec::new());
        let mut size = size_of::<OwnedMessage>()
            + record.payload().map_or(0, <[u8]>::len)
            + record.key().map_or(0, <[u8]>::len);
        if let Some(all) = record.headers() {
            for place in 0..all.count() {
                match catch_unwind(AssertUnwindSafe(|| all.try_get(place))) {
                    Ok(Some(header)) => {
                        size += weight(&header);
                        if is_of_trace(header.key) {
                            traces.push(place);
                        }
                    }
                    Ok(None) => {}
                    Err(_) => unreadable.push(place),
                }
            }
        }
        Self(Arc::new(Inner { record, unreadable, traces, size, hop: false }))
    }

    /// The same record, known to come from a retry topic of this consumer.
    pub(crate) fn of_hop(record: OwnedMessage) -> Self {
        let mut message = Self::new(record);
        if let Some(inner) = Arc::get_mut(&mut message.0) {
            inner.hop = true;
        }
        message
    }

    /// The topic. A message that came by a retry topic shows that; see [`origin`](Self::origin).
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.record.topic()
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.0.record.partition()
    }

    /// The offset.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.0.record.offset()
    }

    /// Topic, partition and offset where the message was published first, before any retry topic.
    #[must_use]
    pub fn origin(&self) -> (&str, i32, i64) {
        let text = |name| self.hop_header(name);
        match (text(headers::TOPIC), number(text(headers::PARTITION)), number(text(headers::OFFSET))) {
            (Some(topic), Some(partition), Some(offset)) => (topic, partition, offset),
            _ => (self.topic(), self.partition(), self.offset()),
        }
    }

    /// A header of ours on a record that came by a retry topic of ours; a stranger's header of that name counts for
    /// nothing.
    pub(crate) fn hop_header(&self, name: &str) -> Option<&str> {
        let value = self.0.hop.then(|| self.header(name)).flatten()?;
        std::str::from_utf8(value).ok()
    }

    /// Milliseconds since the Unix epoch, from the producer or the broker as the topic is set up.
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<i64> {
        match self.0.record.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => Some(ms),
        }
    }

    /// [`timestamp_ms`](Self::timestamp_ms) of the message where it was published first, before any retry topic.
    pub(crate) fn published_ms(&self) -> Option<i64> {
        number(self.hop_header(headers::TIMESTAMP)).or_else(|| self.timestamp_ms())
    }

    /// When it was published first.
    pub(crate) fn published(&self) -> Option<SystemTime> {
        let ms = self.published_ms().and_then(|ms| u64::try_from(ms).ok())?;
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(ms))
    }

    /// Its place, for the attributes of its span.
    pub(crate) fn trace_origin(&self) -> SpanOrigin<'_> {
        let mut origin = SpanOrigin::message("kafka", self.topic());
        origin.partition = Some(self.partition());
        origin.offset = Some(self.offset());
        origin.body_size = Some(self.payload().len());
        origin
    }

    /// The trace context in its headers.
    pub(crate) fn trace_context(&self) -> Option<TraceContext> {
        let all = self.0.record.headers().filter(|_| !self.0.traces.is_empty())?;
        let values = |name: &'static str| {
            let each = self.0.traces.iter().filter_map(|place| all.try_get(*place));
            let named = each.filter(move |header| header.key.eq_ignore_ascii_case(name));
            named.map(|header| header.value.unwrap_or_default())
        };
        TraceContext::of_headers(values(TRACEPARENT), values(TRACESTATE))
    }

    /// The record key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.record.key()
    }

    /// The payload; empty for a tombstone ([`is_tombstone`](Self::is_tombstone)).
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.record.payload().unwrap_or_default()
    }

    /// True if it has no payload at all: on a compacted topic, its key was deleted.
    #[must_use]
    pub fn is_tombstone(&self) -> bool {
        self.0.record.payload().is_none()
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.all_headers().find(|h| h.key == name).map(|h| h.value.unwrap_or_default())
    }

    /// All headers whose names are UTF-8, in order.
    pub fn all_headers(&self) -> impl Iterator<Item = Header<'_, &[u8]>> {
        let all = self.0.record.headers();
        let places = 0..all.map_or(0, OwnedHeaders::count);
        let readable = places.filter(|place| !self.0.unreadable.contains(place));
        readable.filter_map(move |place| all.and_then(|all| all.try_get(place)))
    }

    /// True if a header's name could not be read.
    pub(crate) fn has_unreadable_headers(&self) -> bool {
        !self.0.unreadable.is_empty()
    }

    /// The memory that holding it takes, about, in bytes: key, payload, headers, and the record around them.
    pub(crate) fn size(&self) -> usize {
        self.0.size
    }

    /// The record as the driver has it.
    #[must_use]
    pub fn as_rdkafka(&self) -> &OwnedMessage {
        &self.0.record
    }
}

fn weight(header: &Header<'_, &[u8]>) -> usize {
    header.key.len() + header.value.map_or(0, <[u8]>::len)
}

fn is_of_trace(name: &str) -> bool {
    [TRACEPARENT, TRACESTATE].iter().any(|of| of.eq_ignore_ascii_case(name))
}

fn number<N: std::str::FromStr>(text: Option<&str>) -> Option<N> {
    text?.parse().ok()
}

impl fmt::Debug for KafkaMessage {
    /// Its place; never its content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic(), self.partition(), self.offset())
    }
}

impl Identify for KafkaMessage {
    fn headers<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        Box::new(self.all_headers().filter(move |h| h.key == name).map(|h| h.value.unwrap_or_default()))
    }

    fn header<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.header(name)
    }

    fn key(&self) -> Option<&[u8]> {
        self.0.record.key()
    }

    fn payload(&self) -> Option<&[u8]> {
        self.0.record.payload()
    }

    /// Topic, partition and offset alone would take the first messages of a re-created topic for those of the
    /// old one. The timestamp and a digest of the content bind them to the incarnation: a record that agrees
    /// in all of these is the same record, restored.
    fn coordinates(&self) -> Option<Vec<u8>> {
        let mut content = Sha256::new();
        for part in [self.0.record.key(), self.0.record.payload()] {
            content.update([u8::from(part.is_some())]);
            let part = part.unwrap_or_default();
            content.update((part.len() as u64).to_be_bytes());
            content.update(part);
        }
        let (topic, partition, offset) = (self.topic(), self.partition(), self.offset());
        let at = self.timestamp_ms().map_or_else(|| "-".into(), |at| at.to_string());
        // No topic's name has a slash.
        Some(format!("{topic}/{partition}@{offset} {at} {}", hex(&content.finalize())).into_bytes())
    }
}

/// Headers with one more, which is text.
pub(crate) fn text(headers: OwnedHeaders, key: &str, value: &str) -> OwnedHeaders {
    headers.insert(Header { key, value: Some(value) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn record(payload: &str, offset: i64, timestamp: i64) -> KafkaMessage {
        let at = Timestamp::CreateTime(timestamp);
        KafkaMessage::new(OwnedMessage::new(Some(payload.into()), None, "t".into(), at, 0, offset, None))
    }

    #[test]
    fn coordinates_tell_a_re_created_topic_apart() {
        let of = |m: KafkaMessage| m.coordinates().unwrap();
        assert_eq!(of(record("a", 0, 1)), of(record("a", 0, 1)), "a redelivery");
        assert!(of(record("a", 0, 1)).starts_with(b"t/0@0 1 "), "logs and letters show it");
        assert!(of(record("a", 0, 1)).is_ascii());
        assert_ne!(of(record("a", 0, 1)), of(record("a", 0, 2)));
        assert_ne!(of(record("a", 0, 1)), of(record("b", 0, 1)));
        assert_ne!(of(record("a", 0, 1)), of(record("a", 1, 1)));
    }

    #[test]
    fn headers_of_a_hop_count_only_on_a_record_of_a_retry_topic() {
        let text = |key, value| Header { key, value: Some(value) };
        let all = OwnedHeaders::new()
            .insert(text(headers::TOPIC, "orders"))
            .insert(text(headers::PARTITION, "3"))
            .insert(text(headers::OFFSET, "17"));
        let at = Timestamp::NotAvailable;
        let record = OwnedMessage::new(None, None, "orders.retry".into(), at, 0, 5, Some(all));
        assert_eq!(KafkaMessage::new(record.clone()).origin(), ("orders.retry", 0, 5));
        assert_eq!(KafkaMessage::of_hop(record).origin(), ("orders", 3, 17));
    }
}
