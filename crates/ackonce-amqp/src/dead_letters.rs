//! The dead-letter exchange: body, properties and headers as they came, and why they ended here.

use ackonce::{Burial, BuryError, Graveyard, Letter};
use async_trait::async_trait;
use lapin::types::{AMQPValue, LongString, ShortString};

use crate::delivery::AmqpDelivery;
use crate::republish::{Publisher, Purpose, copied, reason};
use crate::{Message, headers};

#[derive(Debug)]
pub(crate) struct DeadLetters {
    pub(crate) publisher: Publisher,
    pub(crate) exchange: ShortString,
    /// That of each message, unless one was chosen.
    pub(crate) routing_key: Option<ShortString>,
    pub(crate) queue: ShortString,
}

#[async_trait]
impl Graveyard<AmqpDelivery> for DeadLetters {
    async fn bury(&self, delivery: &AmqpDelivery, burial: &Burial) -> Result<Letter, BuryError> {
        let message = &delivery.message;
        let mut extra = origin(message, &self.queue);
        extra.extend([
            (headers::ERROR, reason(&burial.reason)),
            (headers::ATTEMPTS, AMQPValue::LongLongInt(burial.attempts.into())),
            (headers::SCOPE, text(burial.key.scope().name())),
            (headers::MESSAGE_ID, text(burial.key.id().to_vec())),
        ]);
        let key = match &self.routing_key {
            Some(key) => key.clone(),
            None => ShortString::try_new(message.routing_key())?,
        };
        self.publisher
            .publish(&self.exchange, &key, message.payload(), copied(message, Purpose::DeadLetter, extra))
            .await?;
        Ok(Letter::Whole)
    }
}

/// Where a message came from.
pub(crate) fn origin(message: &Message, queue: &ShortString) -> Vec<(&'static str, AMQPValue)> {
    vec![
        (headers::EXCHANGE, text(message.exchange())),
        (headers::ROUTING_KEY, text(message.routing_key())),
        (headers::QUEUE, text(queue.as_str())),
    ]
}

pub(crate) fn text(value: impl Into<LongString>) -> AMQPValue {
    AMQPValue::LongString(value.into())
}
