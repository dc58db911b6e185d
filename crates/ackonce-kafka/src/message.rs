//! A Kafka record as handlers see it.

use std::fmt;
use std::sync::Arc;

use ackonce::{Delivery, Identify};
use rdkafka::message::{Headers, OwnedMessage};
use rdkafka::{Message as _, Timestamp};
use sha2::{Digest, Sha256};

/// A Kafka record. Cloning is cheap.
#[derive(Clone)]
pub struct Message(Arc<OwnedMessage>);

impl Message {
    /// Wraps a record, for a consumer loop of your own: `Message::new(borrowed.detach())`.
    #[must_use]
    pub fn new(message: OwnedMessage) -> Self {
        Self(Arc::new(message))
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        self.0.topic()
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> i32 {
        self.0.partition()
    }

    /// The offset.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.0.offset()
    }

    /// Milliseconds since the Unix epoch, from the producer or the broker as the topic is set up.
    #[must_use]
    pub fn timestamp_ms(&self) -> Option<i64> {
        match self.0.timestamp() {
            Timestamp::NotAvailable => None,
            Timestamp::CreateTime(ms) | Timestamp::LogAppendTime(ms) => Some(ms),
        }
    }

    /// The record key.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    /// The payload; empty for a tombstone.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.0.payload().unwrap_or_default()
    }

    /// The first header of that name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let all = self.0.headers().into_iter().flat_map(Headers::iter);
        all.filter(|h| h.key == name).map(|h| h.value.unwrap_or_default()).next()
    }

    /// What holding it takes, about, in bytes: key, payload, headers, and the record around them.
    pub(crate) fn size(&self) -> usize {
        let headers = self.0.headers().into_iter().flat_map(Headers::iter);
        let headers: usize = headers.map(|h| h.key.len() + h.value.map_or(0, <[u8]>::len)).sum();
        size_of::<OwnedMessage>() + self.payload().len() + self.key().map_or(0, <[u8]>::len) + headers
    }

    /// The record as the driver has it.
    #[must_use]
    pub fn as_rdkafka(&self) -> &OwnedMessage {
        &self.0
    }
}

impl fmt::Debug for Message {
    /// Where it is; never what it says.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}@{}", self.topic(), self.partition(), self.offset())
    }
}

/// For a consumer loop of your own: the record itself is what a receipt gives back to commit.
impl Delivery for Message {
    type Message = Self;

    fn message(&self) -> Self {
        self.clone()
    }
}

impl Identify for Message {
    fn headers<'a>(&'a self, name: &'a str) -> Box<dyn Iterator<Item = &'a [u8]> + 'a> {
        let all = self.0.headers().into_iter().flat_map(Headers::iter);
        Box::new(all.filter(move |h| h.key == name).map(|h| h.value.unwrap_or_default()))
    }

    fn key(&self) -> Option<&[u8]> {
        self.0.key()
    }

    fn payload(&self) -> &[u8] {
        self.payload()
    }

    /// Topic, partition and offset alone would take the first messages of a re-created topic for those of the
    /// old one. The timestamp and a digest of the content bind them to the incarnation: a record that agrees
    /// in all of these is the same record, restored.
    fn coordinates(&self) -> Option<Vec<u8>> {
        let mut content = Sha256::new();
        for part in [self.key(), self.0.payload()] {
            content.update([u8::from(part.is_some())]);
            let part = part.unwrap_or_default();
            content.update((part.len() as u64).to_be_bytes());
            content.update(part);
        }
        let mut id = Vec::with_capacity(32 + 20 + self.topic().len());
        id.extend_from_slice(&content.finalize());
        id.extend_from_slice(&self.partition().to_be_bytes());
        id.extend_from_slice(&self.offset().to_be_bytes());
        id.extend_from_slice(&self.timestamp_ms().unwrap_or(i64::MIN).to_be_bytes());
        id.extend_from_slice(self.topic().as_bytes());
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(payload: &str, offset: i64, timestamp: i64) -> Message {
        let at = Timestamp::CreateTime(timestamp);
        Message::new(OwnedMessage::new(Some(payload.into()), None, "t".into(), at, 0, offset, None))
    }

    #[test]
    fn coordinates_tell_a_re_created_topic_apart() {
        let of = |m: Message| m.coordinates().unwrap();
        assert_eq!(of(record("a", 0, 1)), of(record("a", 0, 1)), "a redelivery");
        assert_ne!(of(record("a", 0, 1)), of(record("a", 0, 2)));
        assert_ne!(of(record("a", 0, 1)), of(record("b", 0, 1)));
        assert_ne!(of(record("a", 0, 1)), of(record("a", 1, 1)));
    }
}
