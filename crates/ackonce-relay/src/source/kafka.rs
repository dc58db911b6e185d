//! `kafka://…?group=G`.

use ackonce::{Counts, Result};
use ackonce_kafka::{ClientConfig, KafkaConsumer};

use crate::deliver::Deliver;
use crate::health::RelayHealth;
use crate::kafka_url::{KafkaUrl, refused_property};
use crate::plan::Plan;
use crate::queues::queues;
use crate::url::{Parts, RelayUrlError};

/// Topics, consumed by a group.
#[derive(Clone)]
pub(super) struct KafkaSource {
    pub(super) config: ClientConfig,
    pub(super) topics: Vec<String>,
    pub(super) queues: Vec<String>,
}

impl KafkaSource {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let mut parts = Parts::of(text)?;
        let mut url = KafkaUrl::of(&mut parts)?;
        let group = parts.take("group")?.filter(|group| !group.is_empty());
        let group = group.ok_or_else(|| RelayUrlError::new("it names no consumer group; add ?group=G"))?;
        parts.nothing_more("group and kafka.NAME")?;
        if url.config.get("group.id").is_some() {
            return Err(RelayUrlError::new(
                "its option `kafka.group.id` is said twice: `group` is the group",
            ));
        }
        url.config.set("group.id", group);
        refused_property(&url.config)?;
        let queues = queues(&parts, &url.topics);
        Ok(Self { config: url.config, topics: url.topics, queues })
    }

    pub(super) fn group(&self) -> &str {
        self.config.get("group.id").unwrap_or_default()
    }

    pub(super) fn consumer(&self, plan: Plan) -> KafkaConsumer {
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        let mut consumer = KafkaConsumer::new(self.config.clone(), &topics, &plan.scope, plan.store)
            .with_settings(plan.settings)
            .with_shutdown(plan.shutdown);
        if let Some(ids) = plan.ids {
            consumer = consumer.with_ids(ids);
        }
        if let Some(order) = plan.order {
            consumer = consumer.with_order(order);
        }
        if let Some(topic) = plan.dead_letter {
            consumer = consumer.with_dead_letters(topic);
        }
        if !plan.retry_topics.is_empty() {
            consumer = consumer.with_retry_topics(plan.retry_topics);
        }
        consumer
    }

    pub(super) async fn run(&self, plan: Plan, deliver: Deliver, health: &RelayHealth) -> Result<Counts> {
        let consumer = self.consumer(plan);
        health.is_kafka(consumer.health());
        match deliver.takes_batches() {
            true => consumer.run_batch(deliver).await,
            false => consumer.run(deliver).await,
        }
    }
}
