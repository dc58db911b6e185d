//! Publishes copies of messages, to the dead-letter topic and to retry topics, and waits for their confirmation.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ackonce::Key;
use ackonce::adapter::{HeaderValue, MAX_REASON_LEN, copy_headers};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::{Header, Headers, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::types::RDKafkaConfRes;

use crate::driver::{connection, is_never};
use crate::log::Quiet;
use crate::message::text;
use crate::{KafkaMessage, headers};

/// The time limit for one record to be confirmed before it is tried again.
const CONFIRM: Duration = Duration::from_secs(15);

/// An idempotent producer for records that must be confirmed: `acks=all`. One that cannot go on (after a fatal error, or
/// when it confirms nothing in time) is replaced. Cloning is cheap; clones share it.
#[derive(Clone)]
pub struct KafkaPublisher(Arc<Shared>);

struct Shared {
    config: ClientConfig,
    scope: Arc<str>,
    producer: Mutex<FutureProducer<Hushed>>,
}

/// The driver of a producer says twice a second that its brokers are away: the consumer beside it has said so.
#[derive(Debug)]
struct Hushed {
    /// For log lines.
    scope: Arc<str>,
    quiet: Mutex<Quiet>,
}

impl Hushed {
    fn new(scope: &Arc<str>) -> Self {
        Self { scope: scope.clone(), quiet: Mutex::default() }
    }
}

impl ClientContext for Hushed {
    fn log(&self, _: RDKafkaLogLevel, fac: &str, line: &str) {
        tracing::debug!(target: "librdkafka", scope = &*self.scope, fac, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        let key = error.rdkafka_error_code().map(|code| format!("{code:?}")).unwrap_or_default();
        if let Some(unsaid) = self.quiet.lock().unwrap_or_else(PoisonError::into_inner).ask(&key) {
            tracing::warn!(target: "ackonce", scope = &*self.scope, %error, reason, unsaid,
                "the producer reports an error");
        }
    }
}

impl std::fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KafkaPublisher").field("scope", &self.0.scope).finish_non_exhaustive()
    }
}

impl KafkaPublisher {
    /// A producer with these settings, which it completes; `name` stands in its log lines as the scope. A record that is not
    /// confirmed after 15 s fails, though it may be in the topic.
    ///
    /// # Errors
    /// A setting that the driver does not take, and `transactional.id`: such a producer takes nothing outside of a transaction.
    pub fn new(mut config: ClientConfig, name: &str) -> KafkaResult<Self> {
        if let Some(id) = config.get("transactional.id") {
            return Err(KafkaError::ClientConfig(
                RDKafkaConfRes::RD_KAFKA_CONF_INVALID,
                "a producer with a transactional.id takes nothing outside of a transaction; leave it out"
                    .to_owned(),
                "transactional.id".to_owned(),
                id.to_owned(),
            ));
        }
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", CONFIRM.as_millis().to_string());
        let scope: Arc<str> = name.into();
        let producer = Mutex::new(config.create_with_context(Hushed::new(&scope))?);
        Ok(Self(Arc::new(Shared { config, scope, producer })))
    }

    /// The same settings for a second producer that sends each record in a request of its own: a broker refuses a
    /// request as a whole, so one record that it does not take fails those beside it.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn one_by_one(&self) -> KafkaResult<Self> {
        let mut config = self.0.config.clone();
        config.set("batch.num.messages", "1");
        Self::new(config, &self.0.scope)
    }

    /// True if the topic will never take the record that this error is about: it is too large, say.
    #[must_use]
    pub fn is_refused(error: &KafkaError) -> bool {
        error.rdkafka_error_code().is_some_and(is_never)
    }

    /// Checks that a broker answers and has the topic. Blocks for up to `limit`.
    ///
    /// # Errors
    /// No broker answers, the topic does not exist, or a right is refused.
    pub fn check(&self, topic: &str, limit: Duration) -> KafkaResult<()> {
        let metadata = self.producer().clone().client().fetch_metadata(Some(topic), limit)?;
        let error = metadata.topics().iter().find_map(rdkafka::metadata::MetadataTopic::error);
        match error {
            Some(error) => Err(KafkaError::MetadataFetch(error.into())),
            None => Ok(()),
        }
    }

    pub(crate) fn connect(consumer: &ClientConfig, scope: &Arc<str>) -> KafkaResult<Self> {
        let mut config = connection(consumer);
        config.set("enable.idempotence", "true").set("acks", "all");
        config.set("message.timeout.ms", CONFIRM.as_millis().to_string());
        // The topic's own limit decides: the driver's default is below that of brokers and of other producers.
        config.set("message.max.bytes", "1000000000");
        // One record in a request: a broker refuses a request as a whole, and a refused letter is cut or given up.
        config.set("batch.num.messages", "1");
        let producer = Mutex::new(config.create_with_context(Hushed::new(scope))?);
        Ok(Self(Arc::new(Shared { config, scope: scope.clone(), producer })))
    }

    fn producer(&self) -> MutexGuard<'_, FutureProducer<Hushed>> {
        self.0.producer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the driver has and no broker has confirmed.
    #[cfg(test)]
    pub(crate) fn under_way(&self) -> i32 {
        self.producer().in_flight_count()
    }

    /// A producer after a fatal error takes nothing more, and an idempotent one that was cut off in the middle of its
    /// requests may confirm nothing for minutes: the next record gets a new one.
    fn renew(&self, failed: &FutureProducer<Hushed>, error: &KafkaError) {
        let fatal = failed.client().fatal_error().map(|(code, reason)| format!("{code}: {reason}"));
        let timed_out = error.rdkafka_error_code() == Some(RDKafkaErrorCode::MessageTimedOut);
        let Some(why) = fatal.or_else(|| timed_out.then(|| error.to_string())) else { return };
        let mut producer = self.producer();
        // The first of several records that failed together has replaced it.
        if producer.client().native_ptr() == failed.client().native_ptr()
            && let Ok(new) = self.0.config.create_with_context(Hushed::new(&self.0.scope))
        {
            tracing::warn!(target: "ackonce", scope = &*self.0.scope, why,
                "the producer cannot go on; a new one takes its place");
            *producer = new;
        }
    }

    /// Sends one record, and returns when all replicas in sync have it.
    ///
    /// # Errors
    /// It is not confirmed. Unless the broker refused it, it may be in the topic.
    pub async fn send(
        &self,
        topic: &str,
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: OwnedHeaders,
    ) -> Result<(), KafkaError> {
        self.send_to((topic, None), key, payload, headers).await
    }

    /// The same, to this partition of the topic; without one the record's key chooses it.
    pub(crate) async fn send_to(
        &self,
        (topic, partition): (&str, Option<i32>),
        key: Option<&[u8]>,
        payload: Option<&[u8]>,
        headers: OwnedHeaders,
    ) -> Result<(), KafkaError> {
        let record = FutureRecord::<[u8], [u8]> {
            topic,
            partition,
            payload,
            key,
            timestamp: None,
            headers: Some(headers),
        };
        let producer = self.producer().clone();
        let sent = match tokio::time::timeout(CONFIRM * 2, producer.send(record, CONFIRM)).await {
            Ok(sent) => sent.map(drop).map_err(|(error, _)| error),
            // The driver's own limit has passed, and it says nothing.
            Err(_) => Err(KafkaError::MessageProduction(RDKafkaErrorCode::MessageTimedOut)),
        };
        if let Err(error) = &sent {
            self.renew(&producer, error);
        }
        sent
    }
}

/// The headers of a copy: the original's, then its origin and identity.
pub(crate) fn copied(message: &KafkaMessage, key: &Key, reason: &str, attempts: u32) -> OwnedHeaders {
    let original = rdkafka::Message::headers(message.as_rdkafka());
    let ours = |name: &str| name.starts_with(headers::PREFIX);
    let copy = match original {
        // Copied whole, so that a header whose name cannot be read is kept, too.
        Some(all) if message.has_unreadable_headers() && !message.all_headers().any(|h| ours(h.key)) => {
            all.clone()
        }
        _ => message.all_headers().filter(|h| !ours(h.key)).fold(
            OwnedHeaders::new_with_capacity(original.map_or(0, OwnedHeaders::count) + 9),
            |copy, Header { key, value }| copy.insert(Header { key, value }),
        ),
    };
    identified(copy, message, key, reason, attempts)
}

/// Origin, identity and reason, after `headers`.
pub(crate) fn identified(
    headers: OwnedHeaders,
    message: &KafkaMessage,
    key: &Key,
    reason: &str,
    attempts: u32,
) -> OwnedHeaders {
    let (topic, partition, offset) = message.origin();
    let headers = text(headers, headers::TOPIC, topic);
    let headers = text(headers, headers::PARTITION, &partition.to_string());
    let headers = text(headers, headers::OFFSET, &offset.to_string());
    copy_headers(key, reason, attempts, MAX_REASON_LEN).into_iter().fold(headers, |headers, (name, value)| {
        match value {
            HeaderValue::Bytes(bytes) => headers.insert(Header { key: name, value: Some(bytes) }),
            HeaderValue::Number(number) => text(headers, name, &number.to_string()),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ackonce::Scope;
    use rdkafka::Timestamp;
    use rdkafka::message::OwnedMessage;

    use super::*;

    #[test]
    fn a_producer_of_transactions_is_refused_by_its_setting() {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", "localhost:1").set("transactional.id", "mine");
        let error = KafkaPublisher::new(config, "s").unwrap_err();
        assert!(error.to_string().contains("transactional.id"), "{error}");
    }

    #[test]
    fn headers_of_an_earlier_round_are_replaced_and_a_long_reason_is_cut() {
        let old = text(text(OwnedHeaders::new(), "traceparent", "a"), headers::TOPIC, "somewhere");
        let at = Timestamp::NotAvailable;
        let message = KafkaMessage::new(OwnedMessage::new(None, None, "orders".into(), at, 1, 7, Some(old)));
        let key = Scope::new("s").unwrap().key("m").unwrap();
        let long = "é".repeat(3000);
        let copy = copied(&message, &key, &long, 2);
        let found: Vec<_> = copy.iter().map(|h| (h.key.to_owned(), h.value.unwrap().to_vec())).collect();
        let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names.iter().filter(|name| **name == headers::TOPIC).count(), 1);
        assert!(found.contains(&("traceparent".into(), b"a".to_vec())), "a copy is in the message's trace");
        assert!(found.contains(&(headers::TOPIC.into(), b"orders".to_vec())));
        let reason = &found.iter().find(|(name, _)| name == headers::ERROR).unwrap().1;
        assert_eq!(reason.len(), 4096);
        assert!(std::str::from_utf8(reason).is_ok());
    }
}
