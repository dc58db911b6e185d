//! From a delivery to a job.

use std::time::Duration;

use ackonce::adapter::{BurialProof, Intake, Ordered, burial_proof};
use ackonce::{Error, ErrorKind, Result};
use lapin::types::ShortString;

use crate::AmqpMessage;
use crate::channel::ChannelDelivery;
use crate::log::Seldom;

/// The least time between two warnings of the same kind.
const WARN: Duration = Duration::from_secs(10);

/// The part of the consumer that turns a delivery into a job.
#[derive(Debug)]
pub(crate) struct QueueIntake {
    pub(crate) queue: ShortString,
    pub(crate) rules: Intake,
    pub(crate) delivery_limit: u32,
    pub(crate) near_limit: Seldom,
    pub(crate) came_back: Seldom,
    /// Exchange and routing key of dead letters; a message that arrives by them goes in a circle.
    pub(crate) dead_letters: Option<(ShortString, Option<ShortString>)>,
}

impl QueueIntake {
    /// # Errors
    /// [`ErrorKind::Invalid`] for a message without a usable ID under [`OnMissing::Stop`](ackonce::OnMissing::Stop): the
    /// consumer must end.
    pub(crate) fn admit(&self, delivery: ChannelDelivery) -> Result<Ordered<ChannelDelivery>> {
        self.look_at_count(&delivery);
        let proof = self.proof(delivery.message());
        let is_letter = proof.is_some();
        let job = self.rules.admit(delivery, (), proof, |delivery, why| self.missing(delivery, why))?;
        if !is_letter {
            self.look_at_identity(&job);
        }
        Ok(job)
    }

    /// The scope's name, for log lines.
    pub(crate) fn scope(&self) -> &str {
        self.rules.scope.name()
    }

    /// The proof of a burial that a letter carries, unless it came here by the way of dead letters: nobody has mended
    /// anything then, and it goes in a circle.
    fn proof(&self, message: &AmqpMessage) -> Option<BurialProof> {
        let proof = burial_proof(message)?;
        let in_circle = self.dead_letters.as_ref().is_some_and(|(exchange, key)| {
            message.exchange() == exchange.as_str()
                && key.as_ref().is_none_or(|key| message.routing_key() == key.as_str())
        });
        (!in_circle).then_some(proof)
    }

    fn missing(&self, delivery: &ChannelDelivery, why: &str) -> Error {
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

    /// Warns of a dead letter without a message ID that came back by itself. Its own identity finds it as buried.
    fn look_at_identity(&self, job: &Ordered<ChannelDelivery>) {
        let (scope, delivery) = (self.scope(), job.job.delivery());
        if job.job.key().scope().name() != scope
            && self.rules.carried_key(delivery.message()).is_some()
            && let Some(others) = self.came_back.say(WARN)
        {
            tracing::warn!(target: "ackonce", scope, queue = %self.queue, delivery_tag = delivery.tag(), others,
                "a dead letter without a message ID came back to the queue that it was taken from: it is not buried again \
                (does the dead-letter exchange lead to this queue?)");
        }
    }

    /// A quorum queue drops a message that comes back too often, with or without a dead-letter exchange to drop it to.
    fn look_at_count(&self, delivery: &ChannelDelivery) {
        let message = delivery.message();
        if let Some(count) = message.delivery_count()
            && count > 0
            && count >= u64::from(self.delivery_limit / 2)
            && let Some(others) = self.near_limit.say(WARN)
        {
            tracing::warn!(target: "ackonce", queue = %self.queue, delivery_tag = delivery.tag(), ?message, count,
                limit = self.delivery_limit, others, scope = self.scope(),
                "a quorum queue has had this message back so often that it may soon drop or dead-letter it \
                (x-delivery-limit)");
        }
    }
}
