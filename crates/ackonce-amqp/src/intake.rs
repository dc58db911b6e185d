//! From a delivery to a job: identity, lane and fingerprint.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use ackonce::adapter::{BurialProof, Job, Ordered};
use ackonce::store::{Fingerprint, Token};
use ackonce::{Error, ErrorKind, Key, MessageIds, Scope};
use lapin::types::ShortString;

use crate::delivery::AmqpDelivery;
use crate::outage::Seldom;
use crate::{Message, OnMissing, Order, headers};

/// The least time between two warnings of the same kind.
const WARN: Duration = Duration::from_secs(10);
/// The scope, beside the user's, of messages without an ID.
const UNIDENTIFIED: &str = "unidentified";

/// The part of the consumer that turns a delivery into a job.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) queue: ShortString,
    pub(crate) scope: Scope,
    pub(crate) ids: MessageIds,
    pub(crate) on_missing: OnMissing,
    pub(crate) fingerprints: bool,
    pub(crate) order: Order,
    pub(crate) delivery_limit: u32,
    pub(crate) near_limit: Seldom,
    pub(crate) came_back: Seldom,
    /// Exchange and routing key of dead letters; a message that arrives by them goes in a circle.
    pub(crate) dead_letters: Option<(ShortString, Option<ShortString>)>,
}

impl Intake {
    /// # Errors
    /// [`ErrorKind::Invalid`] for a message without a usable ID under [`OnMissing::Stop`]: the consumer must end.
    pub(crate) fn admit(&self, delivery: AmqpDelivery) -> Result<Ordered<AmqpDelivery>, Error> {
        let message = delivery.message().clone();
        self.look_at_count(&delivery);
        let job = match (self.find(&message), self.on_missing) {
            (Ok((key, Some(proof))), _) => Job::new(key, delivery).as_letter(proof),
            (Ok((key, None)), _) => Job::new(key, delivery),
            (Err(why), OnMissing::Stop) => return Err(self.missing(&delivery, &why)),
            (Err(why), OnMissing::Bury) => {
                Job::new(self.unidentified(&delivery)?, delivery).dead_lettered(why)
            }
        };
        let job = match self.fingerprints {
            true => job.with_fingerprint(Fingerprint::of(message.payload())),
            false => job,
        };
        Ok(Ordered { lane: self.order.lane(&message), job })
    }

    /// The key of a message, and the proof of its burial if it is a dead letter that was published again.
    fn find(&self, message: &Message) -> Result<(Key, Option<BurialProof>), String> {
        let proof = self.proof(message);
        let of_letter = |scope: Scope| {
            let id = message
                .header(headers::MESSAGE_ID)
                .filter(|_| message.text(headers::SCOPE) == Some(scope.name()))?;
            scope.with_max_id_len(id.len()).key(id.to_vec()).ok()
        };
        if proof.is_some()
            && let Some(key) = of_letter(self.scope.clone())
        {
            return Ok((key, proof));
        }
        let found = self.ids.find(message).map_err(|e| e.to_string());
        let found = found.and_then(|id| self.scope.key(id).map_err(|e| e.to_string()));
        match found {
            Ok(key) => Ok((key, None)),
            // The letter of a message without an ID has one by now: its own.
            Err(why) if proof.is_some() => {
                of_letter(self.scope.beside(UNIDENTIFIED)).map(|key| (key, proof)).ok_or(why)
            }
            Err(why) => Err(why),
        }
    }

    /// The proof of a burial that a letter carries, unless it came here by the way of dead letters: nobody has mended
    /// anything then, and it goes in a circle.
    fn proof(&self, message: &Message) -> Option<BurialProof> {
        let proof = message.text(headers::BURIAL)?.parse().ok()?;
        let in_circle = self.dead_letters.as_ref().is_some_and(|(exchange, key)| {
            message.exchange() == exchange.as_str()
                && key.as_ref().is_none_or(|key| message.routing_key() == key.as_str())
        });
        (!in_circle).then_some(proof)
    }

    fn missing(&self, delivery: &AmqpDelivery, why: &str) -> Error {
        let (queue, tag, message) = (&self.queue, delivery.tag(), delivery.message());
        Error::new(
            ErrorKind::Invalid,
            format!(
                "queue {:?}, delivery tag {tag}, published as {message:?}: {why}. The message stays in the queue \
                 (OnMissing::Stop). Either say where its ID is (AmqpConsumer::with_ids), or have such messages buried \
                 (AmqpConsumer::with_dead_letters; with_on_missing(OnMissing::Bury) alone gives up their payload)",
                queue.as_str()
            ),
        )
    }

    /// A record of its own for each delivery, beside the scope's IDs: two messages without an ID that look the
    /// same are still two, and each is to be buried. A letter of ours that came back keeps its identity, so that it is
    /// found as buried.
    fn unidentified(&self, delivery: &AmqpDelivery) -> Result<Key, Error> {
        let scope = self.scope.beside(UNIDENTIFIED);
        let message = delivery.message();
        let known = (message.text(headers::SCOPE) == Some(scope.name()))
            .then(|| message.header(headers::MESSAGE_ID))
            .flatten()
            .filter(|id| id.len() == 2 * Token::random().0.len());
        if known.is_some()
            && let Some(others) = self.came_back.say(WARN)
        {
            tracing::warn!(target: "ackonce", scope = self.scope.name(), queue = %self.queue, delivery_tag = delivery.tag(), others,
                "a dead letter without a message ID came back to the queue that it was taken from: it is not buried again \
                (does the dead-letter exchange lead to this queue?)");
        }
        // Hexadecimal digits: logs and letters show it.
        let random = || format!("{:032x}", u128::from_be_bytes(Token::random().0)).into_bytes();
        let id = known.map_or_else(random, <[u8]>::to_vec);
        let key = scope.with_max_id_len(id.len()).key(id);
        key.map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))
    }

    /// A quorum queue drops a message that comes back too often, with or without a dead-letter exchange to drop it to.
    fn look_at_count(&self, delivery: &AmqpDelivery) {
        let message = delivery.message();
        if let Some(count) = message.delivery_count()
            && count > 0
            && count >= u64::from(self.delivery_limit / 2)
            && let Some(others) = self.near_limit.say(WARN)
        {
            tracing::warn!(target: "ackonce", queue = %self.queue, delivery_tag = delivery.tag(), ?message, count,
                limit = self.delivery_limit, others, scope = self.scope.name(),
                "a quorum queue has had this message back so often that it may soon drop or dead-letter it \
                (x-delivery-limit)");
        }
    }
}

impl Order {
    fn lane(&self, message: &Message) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        match self {
            Self::Unordered => return None,
            Self::Queue => {}
            Self::RoutingKey => message.routing_key().hash(&mut hasher),
            Self::Header(name) => {
                let mut values = ackonce::adapter::Identify::headers(message, name);
                values.next()?.hash(&mut hasher);
            }
        }
        Some(hasher.finish())
    }
}
