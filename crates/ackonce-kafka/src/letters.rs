//! The dead-letter topic: payload, key and headers as they came, and the reason of the burial.

use ackonce::adapter::{Burial, BuryError, Graveyard, Letter, payload_digest};
use async_trait::async_trait;
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::message::OwnedHeaders;

use crate::message::text;
use crate::partition::PartitionDelivery;
use crate::publisher::{KafkaPublisher, copied, identified};
use crate::{KafkaMessage, headers};

pub(crate) struct DeadLetters {
    pub(crate) topic: String,
    pub(crate) publisher: KafkaPublisher,
}

/// The letters that are tried, one after another: the part that is missing, then whether payload and headers are there.
/// Larger parts go first.
fn letters(message: &KafkaMessage) -> [(Option<&'static str>, bool, bool); 3] {
    let payload = message.payload().len();
    let second = match payload > message.size().saturating_sub(payload) {
        true => (Some("the payload"), false, true),
        false => (Some("the headers"), true, false),
    };
    [(None, true, true), second, (Some("the payload and the headers"), false, false)]
}

#[async_trait]
impl Graveyard<PartitionDelivery> for DeadLetters {
    fn name(&self) -> &str {
        &self.topic
    }

    /// A letter that the topic will never take is tried again without the larger of payload and headers, then without
    /// both. It names digest and place of a payload that is missing.
    async fn bury(&self, delivery: &PartitionDelivery, burial: &Burial) -> Result<Letter, BuryError> {
        let message = &delivery.message;
        let mut refused = None;
        for (missing, with_payload, with_headers) in letters(message) {
            let mut headers = match with_headers {
                true => copied(message, &burial.key, &burial.reason, burial.attempts),
                false => {
                    identified(OwnedHeaders::new(), message, &burial.key, &burial.reason, burial.attempts)
                }
            };
            headers = match missing {
                Some(missing) => text(headers, headers::REDUCED, missing),
                None => text(headers, headers::BURIAL, &burial.proof.to_string()),
            };
            if !with_payload && !message.is_tombstone() {
                headers = text(headers, headers::PAYLOAD_SHA256, &payload_digest(message.payload()));
            }
            let payload = rdkafka::Message::payload(message.as_rdkafka()).filter(|_| with_payload);
            // Without its payload, the letter of a record with a huge key is sent without that, too.
            let key = message.key().filter(|key| with_payload || key.len() <= 4096);
            match self.publisher.send(&self.topic, key, payload, headers).await {
                Ok(()) => {
                    return Ok(missing.map_or(Letter::Whole, |missing| Letter::Reduced(missing.to_owned())));
                }
                Err(error) if KafkaPublisher::is_refused(&error) => refused = Some(error),
                Err(error) => return Err(self.not_confirmed(error)),
            }
        }
        match refused {
            Some(error) => Err(BuryError::Never(format!("topic {}: {error}", self.topic).into())),
            None => Err(BuryError::Never("no letter could be made".into())),
        }
    }
}

impl DeadLetters {
    fn not_confirmed(&self, error: rdkafka::error::KafkaError) -> BuryError {
        let hint = match error.rdkafka_error_code() {
            Some(RDKafkaErrorCode::MessageTimedOut | RDKafkaErrorCode::UnknownTopicOrPartition) => {
                " (does the topic exist?)"
            }
            _ => "",
        };
        BuryError::Retry(format!("topic {}: {error}{hint}", self.topic).into())
    }
}
