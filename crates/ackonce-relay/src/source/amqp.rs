//! `amqp[s]://…?queue=Q`.

use ackonce::{Counts, Result};
use ackonce_amqp::AmqpConsumer;

use crate::amqp_url::AmqpUrl;
use crate::deliver::Deliver;
use crate::health::RelayHealth;
use crate::plan::Plan;
use crate::queues::queues;
use crate::url::{Parts, RelayUrlError};

/// A queue.
#[derive(Clone)]
pub(super) struct AmqpSource {
    pub(super) url: String,
    pub(super) queue: String,
    prefetch: Option<u16>,
    pub(super) management: Option<String>,
    pub(super) queues: Vec<String>,
}

impl AmqpSource {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let mut parts = Parts::of(text)?;
        let queue = parts.take("queue")?.filter(|queue| !queue.is_empty());
        let queue = queue.ok_or_else(|| RelayUrlError::new("it names no queue; add ?queue=Q"))?;
        let prefetch = parts.take_number("prefetch")?;
        if prefetch == Some(0) {
            return Err(RelayUrlError::new(
                "its option `prefetch` is 0, which would have the broker deliver without end; it is 1 to 65535",
            ));
        }
        let management = parts.take("management")?;
        let url = AmqpUrl::of(&mut parts)?.url;
        parts.nothing_more("queue, prefetch, management and those of AMQP such as heartbeat")?;
        let queues = queues(&parts, std::slice::from_ref(&queue));
        Ok(Self { url, queue, prefetch, management, queues })
    }

    pub(super) fn queue(&self) -> &str {
        &self.queue
    }

    pub(super) fn consumer(&self, plan: Plan) -> AmqpConsumer {
        let mut consumer = AmqpConsumer::new(&self.url, &self.queue, &plan.scope, plan.store)
            .with_settings(plan.settings)
            .with_shutdown(plan.shutdown);
        if let Some(ids) = plan.ids {
            consumer = consumer.with_ids(ids);
        }
        if let Some(order) = plan.order {
            consumer = consumer.with_order(order);
        }
        if let Some(exchange) = plan.dead_letter {
            consumer = consumer.with_dead_letters(&exchange);
        }
        if let Some(prefetch) = self.prefetch {
            consumer = consumer.with_prefetch(prefetch);
        }
        if let Some(address) = &self.management {
            consumer = consumer.with_management(address);
        }
        consumer
    }

    pub(super) async fn run(&self, plan: Plan, deliver: Deliver, health: &RelayHealth) -> Result<Counts> {
        let consumer = self.consumer(plan);
        health.is_amqp(consumer.health());
        match deliver.takes_batches() {
            true => consumer.run_batch(deliver).await,
            false => consumer.run(deliver).await,
        }
    }
}
