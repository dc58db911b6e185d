//! From a delivery to a job: identity, lane and fingerprint.

use std::hash::{DefaultHasher, Hash, Hasher};

use ackonce::{Error, ErrorKind, Fingerprint, Job, Laned, MessageIds, Scope, Token};

use crate::delivery::AmqpDelivery;
use crate::{Message, OnMissing, Order};

/// What must be known of the consumer to make a job of a delivery.
#[derive(Debug)]
pub(crate) struct Intake {
    pub(crate) scope: Scope,
    pub(crate) ids: MessageIds,
    pub(crate) on_missing: OnMissing,
    pub(crate) fingerprints: bool,
    pub(crate) order: Order,
    pub(crate) delivery_limit: u32,
}

impl Intake {
    pub(crate) fn admit(&self, delivery: AmqpDelivery) -> Result<Laned<AmqpDelivery>, Error> {
        let message = delivery.message.clone();
        self.look_at_count(&message);
        let key = self.ids.find(&message).map_err(|e| e.to_string());
        let key = key.and_then(|id| self.scope.key(id).map_err(|e| e.to_string()));
        let job = match (key, self.on_missing) {
            (Ok(key), _) => Job::new(key, delivery),
            (Err(why), OnMissing::Stop) => {
                return Err(Error::new(ErrorKind::Invalid, format!("{message:?}: {why} (OnMissing::Stop)")));
            }
            (Err(why), OnMissing::Bury) => self.unidentified(delivery)?.condemned(why),
        };
        let job = match self.fingerprints {
            true => job.with_fingerprint(Fingerprint::of(message.payload())),
            false => job,
        };
        Ok(Laned { lane: self.order.lane(&message), job })
    }

    /// A record of its own for each delivery, beside the scope's IDs: two messages without an ID that look the
    /// same are still two, and each is to be buried.
    fn unidentified(&self, delivery: AmqpDelivery) -> Result<Job<AmqpDelivery>, Error> {
        let id = Token::random().0.to_vec();
        let scope = self.scope.beside("unidentified").with_max_id_len(id.len());
        let key = scope.key(id).map_err(|e| Error::new(ErrorKind::Invalid, e.to_string()))?;
        Ok(Job::new(key, delivery))
    }

    /// A quorum queue drops what comes back too often, with or without a dead-letter exchange to drop it to.
    fn look_at_count(&self, message: &Message) {
        if let Some(count) = message.delivery_count()
            && count > 0
            && count >= u64::from(self.delivery_limit / 2)
        {
            tracing::warn!(target: "ackonce", ?message, count, limit = self.delivery_limit, scope = self.scope.name(),
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
                let mut values = ackonce::Identify::headers(message, name);
                values.next()?.hash(&mut hasher);
            }
        }
        Some(hasher.finish())
    }
}
