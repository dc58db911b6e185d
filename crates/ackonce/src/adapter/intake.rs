//! From a broker's delivery to a job: its identity, its lane and its fingerprint.

use std::hash::Hash;

use super::dead_letter::redrive_note;
use super::{BurialProof, Delivery, Identify, Job, Order, Ordered, headers};
use crate::claim::Token;
use crate::error::{Error, ErrorKind, Result};
use crate::fingerprint::Fingerprint;
use crate::ids::MessageIds;
use crate::key::hex;
use crate::key::{Key, Scope};
use crate::settings::OnMissing;

/// The scope, beside the user's, of messages without an ID.
const UNIDENTIFIED: &str = "unidentified";

/// The rules by which a broker's deliveries become jobs.
#[derive(Debug, Clone)]
pub struct Intake {
    /// The scope of the messages.
    pub scope: Scope,
    /// The places of their IDs.
    pub ids: MessageIds,
    /// The policy for a message without a usable ID.
    pub on_missing: OnMissing,
    /// True if the same ID with another payload is to be noticed.
    pub fingerprints: bool,
    /// The messages that keep their order.
    pub order: Order,
}

impl Intake {
    /// The job of a delivery that came from `source`: its partition, for [`Order`].
    ///
    /// A dead letter with a `proof` of its burial redrives its record. A letter, or a copy from a retry topic, keeps the
    /// identity that its headers carry.
    ///
    /// # Errors
    /// `missing` makes the error for a message without a usable ID under [`OnMissing::Stop`], from the delivery and the reason.
    pub fn admit<D>(
        &self,
        delivery: D,
        source: impl Hash,
        proof: Option<BurialProof>,
        missing: impl FnOnce(&D, &str) -> Error,
    ) -> Result<Ordered<D>>
    where
        D: Delivery<Message: Identify>,
    {
        let message = delivery.message();
        let carried = self.carried_key(&message);
        let fingerprint = self.fingerprints.then(|| fingerprint(&message, carried.is_some()));
        let job = match (self.find(&message, carried.as_ref(), proof.is_some()), self.on_missing) {
            (Ok(key), _) => match proof.filter(|_| carried.as_ref() == Some(&key)) {
                Some(proof) => Job::new(key, delivery).as_letter(proof).redriven_by(redrive_note(&message)),
                None => Job::new(key, delivery),
            },
            (Err(why), OnMissing::Stop) => return Err(missing(&delivery, &why)),
            (Err(why), OnMissing::Bury) => {
                Job::new(self.unidentified(&message, carried)?, delivery).dead_lettered(why)
            }
        };
        let job = match fingerprint {
            Some(fingerprint) => job.with_fingerprint(fingerprint),
            None => job,
        };
        Ok(Ordered { lane: self.order.lane(source, &message), job })
    }

    /// The key of a message, or the reason why it has none. `is_letter` is true for a dead letter with the proof of its
    /// burial.
    ///
    /// # Errors
    /// No source of an ID is present, or the first present one is unusable.
    pub fn key(&self, message: &impl Identify, is_letter: bool) -> Result<Key, String> {
        self.find(message, self.carried_key(message).as_ref(), is_letter)
    }

    /// The key that a letter or a copy of this scope carries in its headers.
    pub fn carried_key(&self, message: &impl Identify) -> Option<Key> {
        let scope = message.header(headers::SCOPE)?;
        let id = message.header(headers::MESSAGE_ID)?;
        let unidentified = self.scope.beside(UNIDENTIFIED).with_max_id_len(id.len());
        [&self.scope, &unidentified]
            .into_iter()
            .find(|known| known.name().as_bytes() == scope)
            .and_then(|known| known.key(id.to_vec()).ok())
    }

    fn find(&self, message: &impl Identify, carried: Option<&Key>, is_letter: bool) -> Result<Key, String> {
        if let Some(key) = carried.filter(|key| key.scope().name() == self.scope.name()) {
            return Ok(key.clone());
        }
        let found = self.ids.find(message).map_err(|e| e.to_string());
        let found = found.and_then(|id| self.scope.key(id).map_err(|e| e.to_string()));
        // The letter of a message without an ID has one by now: its own.
        found.or_else(|why| carried.filter(|_| is_letter).cloned().ok_or(why))
    }

    /// A key beside the scope's own, so that a message without an ID is buried once: the key of its letter, or its place at
    /// the broker. Where the broker has no such place, each delivery is a message.
    fn unidentified(&self, message: &impl Identify, carried: Option<Key>) -> Result<Key> {
        if let Some(key) = carried {
            return Ok(key);
        }
        let id = message.coordinates().unwrap_or_else(|| hex(&Token::random().0).into_bytes());
        let scope = self.scope.beside(UNIDENTIFIED).with_max_id_len(id.len());
        scope.key(id).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))
    }
}

/// A letter without its payload names the payload's digest: when it comes back, it is the same message still.
fn fingerprint(message: &impl Identify, is_carried: bool) -> Fingerprint {
    let payload = message.payload();
    let left_out = payload.is_none() && is_carried;
    let digest = left_out.then(|| message.header(headers::PAYLOAD_SHA256)).flatten();
    digest
        .and_then(|digest| u128::from_str_radix(std::str::from_utf8(digest.get(..32)?).ok()?, 16).ok())
        .map_or_else(|| Fingerprint::of_payload(payload), |half| Fingerprint(half.to_be_bytes()))
}
