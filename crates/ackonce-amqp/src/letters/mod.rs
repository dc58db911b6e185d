//! The dead-letter exchange: body, properties and headers as they came, and why they ended here. If the broker does not
//! take the whole message, its letter is made smaller until it does.

mod content;

use std::time::Duration;

use ackonce::adapter::{Burial, BuryError, Graveyard, Letter};
use async_trait::async_trait;
use lapin::types::ShortString;

use self::content::Form;
use crate::channel::ChannelDelivery;
use crate::log::Seldom;
use crate::publisher::{AmqpRefusal, Payload, Post, Publisher};
use crate::{AmqpMessage, AmqpMetrics};

/// The interval at which reduced letters are named in the log.
const REDUCED: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct DeadLetters {
    pub(crate) publisher: Publisher,
    pub(crate) exchange: ShortString,
    /// That of each message, unless one was chosen.
    pub(crate) routing_key: Option<ShortString>,
    pub(crate) queue: ShortString,
    pub(crate) metrics: AmqpMetrics,
    pub(crate) reduced: Seldom,
}

#[async_trait]
impl Graveyard<ChannelDelivery> for DeadLetters {
    fn name(&self) -> &str {
        self.exchange.as_str()
    }

    async fn bury(&self, delivery: &ChannelDelivery, burial: &Burial) -> Result<Letter, BuryError> {
        let (message, tag) = (delivery.message(), delivery.tag());
        let mut form = Form::Whole;
        loop {
            let refusal = match self.send(message, burial, form).await {
                Ok(()) => return Ok(self.sent(form, message, tag)),
                Err(refusal) => refusal,
            };
            form = match (form.smaller(&refusal), refusal) {
                (Some(smaller), _) => smaller,
                (None, refusal @ (AmqpRefusal::TooLong { .. } | AmqpRefusal::Message(_))) => {
                    self.metrics.buried_without_letter(1);
                    return Err(BuryError::Never(refusal.into()));
                }
                (None, refusal) => return Err(BuryError::Retry(refusal.into())),
            };
        }
    }
}

impl DeadLetters {
    /// Under each routing key that may lead to a queue, until one does.
    async fn send(&self, message: &AmqpMessage, burial: &Burial, form: Form) -> Result<(), AmqpRefusal> {
        let properties = content::properties(message, &self.queue, burial, form);
        let mut answer = Err(AmqpRefusal::Nowhere("there is no routing key".to_owned()));
        for routing_key in self.routing_keys(message) {
            let payload = match form.has_payload() {
                true => Payload::Of(message.clone()),
                false => Payload::None,
            };
            let (exchange, properties) = (self.exchange.clone(), properties.clone());
            answer = self.publisher.publish(Post { exchange, routing_key, properties, payload }).await;
            if !matches!(answer, Err(AmqpRefusal::Nowhere(_))) {
                break;
            }
        }
        answer
    }

    /// The configured one alone; else the message's first one, its last one, and the queue's name.
    fn routing_keys(&self, message: &AmqpMessage) -> Vec<ShortString> {
        if let Some(key) = &self.routing_key {
            return vec![key.clone()];
        }
        let first = ShortString::try_new(message.routing_key()).ok();
        let mut keys: Vec<_> = first.into_iter().chain([self.queue.clone()]).collect();
        keys.dedup();
        keys
    }

    fn sent(&self, form: Form, message: &AmqpMessage, tag: u64) -> Letter {
        let Some(lacks) = form.lacks() else { return Letter::Whole };
        self.metrics.buried_reduced(1);
        if let Some(others) = self.reduced.say(REDUCED) {
            tracing::warn!(target: "ackonce", scope = self.metrics.scope(), queue = %self.queue, delivery_tag = tag, ?message, lacks, others,
                "the dead-letter place does not take the whole message; a reduced letter is there");
        }
        Letter::Reduced(lacks.to_owned())
    }
}
