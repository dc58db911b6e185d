//! From a delivered record to a job: its identity, its lane and its fingerprint.

use std::hash::{DefaultHasher, Hash, Hasher};

use ackonce::adapter::{BurialProof, Identify, Job, Ordered};
use ackonce::store::Fingerprint;
use ackonce::{Error, ErrorKind, Key, MessageIds, Scope};

use crate::assignment::KafkaDelivery;
use crate::{Message, OnMissing, Order, headers};

/// The rules by which records become jobs.
#[derive(Debug)]
pub(crate) struct Admit {
    pub(crate) scope: Scope,
    pub(crate) ids: MessageIds,
    pub(crate) on_missing: OnMissing,
    pub(crate) fingerprints: bool,
    pub(crate) order: Order,
}

impl Admit {
    /// # Errors
    /// A record without a usable ID, under [`OnMissing::Stop`].
    pub(crate) fn job(&self, delivery: KafkaDelivery) -> Result<Ordered<KafkaDelivery>, Error> {
        let message = delivery.message.clone();
        let key = self.find(&message);
        let job = match (key, self.on_missing) {
            (Ok(key), _) => match proof(&message).filter(|_| self.known(&message).as_ref() == Some(&key)) {
                Some(proof) => Job::new(key, delivery).as_letter(proof),
                None => Job::new(key, delivery),
            },
            (Err(why), OnMissing::Stop) => return Err(missing(&message, &why)),
            (Err(why), OnMissing::Bury) => self.unidentified(&message, delivery)?.dead_lettered(why),
        };
        let job = match self.fingerprints {
            true => job.with_fingerprint(self.fingerprint(&message)),
            false => job,
        };
        Ok(Ordered { lane: self.lane(&message), job })
    }

    /// The key of a message, if it has a usable ID.
    pub(crate) fn key(&self, message: &Message) -> Option<Key> {
        self.find(message).ok()
    }

    fn find(&self, message: &Message) -> Result<Key, String> {
        let known = self.known(message);
        if let Some(key) = known.as_ref().filter(|key| key.scope().name() == self.scope.name()) {
            return Ok(key.clone());
        }
        let found = self.ids.find(message).map_err(|e| e.to_string());
        let found = found.and_then(|id| self.scope.key(id).map_err(|e| e.to_string()));
        // The letter of a message without an ID has one by now: its own.
        found.or_else(|why| known.filter(|_| proof(message).is_some()).ok_or(why))
    }

    /// The identity that a letter or a hop of this scope carries: a message keeps it wherever it has been.
    fn known(&self, message: &Message) -> Option<Key> {
        let scope = message.header(headers::SCOPE)?;
        let id = message.header(headers::MESSAGE_ID)?;
        let anonymous = self.scope.beside(UNIDENTIFIED).with_max_id_len(id.len());
        [&self.scope, &anonymous]
            .into_iter()
            .find(|known| known.name().as_bytes() == scope)
            .and_then(|known| known.key(id.to_vec()).ok())
    }

    /// A letter of ours that left its payload out names the payload's digest: come back, it is the same message still.
    fn fingerprint(&self, message: &Message) -> Fingerprint {
        let left_out = message.is_tombstone() && self.known(message).is_some();
        let digest = left_out.then(|| message.header(headers::PAYLOAD_SHA256)).flatten();
        digest
            .and_then(|digest| u128::from_str_radix(std::str::from_utf8(digest.get(..32)?).ok()?, 16).ok())
            .map_or_else(
                || Fingerprint::of_payload(Identify::payload(message)),
                |half| Fingerprint(half.to_be_bytes()),
            )
    }

    /// A record of its own, beside the scope's IDs, so that a message without one is buried once.
    fn unidentified(&self, message: &Message, delivery: KafkaDelivery) -> Result<Job<KafkaDelivery>, Error> {
        if let Some(key) = self.known(message) {
            return Ok(Job::new(key, delivery));
        }
        let id = message.coordinates().unwrap_or_default();
        let scope = self.scope.beside(UNIDENTIFIED).with_max_id_len(id.len());
        let key = scope.key(id).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
        Ok(Job::new(key, delivery))
    }

    fn lane(&self, message: &Message) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        (message.topic(), message.partition()).hash(&mut hasher);
        match (self.order, message.key()) {
            (Order::Partition, _) => {}
            (Order::Key, Some(key)) => key.hash(&mut hasher),
            (Order::Key, None) | (Order::Unordered, _) => return None,
        }
        Some(hasher.finish())
    }
}

/// The proof of a burial that a letter carries.
fn proof(message: &Message) -> Option<BurialProof> {
    std::str::from_utf8(message.header(headers::BURIAL)?).ok()?.parse().ok()
}

/// The scope, beside the user's, of messages without an ID.
const UNIDENTIFIED: &str = "unidentified";

fn missing(message: &Message, why: &str) -> Error {
    let (topic, partition, offset) = (message.topic(), message.partition(), message.offset());
    Error::new(
        ErrorKind::Invalid,
        format!(
            "the message at topic {topic}, partition {partition}, offset {offset} has no usable message ID: {why}. \
            Name the place of its IDs (KafkaConsumer::with_ids), or let such messages be buried in a dead-letter topic \
            (with_dead_letters)"
        ),
    )
}
