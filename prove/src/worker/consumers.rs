//! The consumers of brokers.

use std::time::Duration;

use ackonce::{Backoff, Handler, Order, Scope};
use ackonce_amqp::{AmqpConsumer, AmqpMessage};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage};

use super::{Consumer, Task};
use crate::plan::{Group, Place, Plan, SCOPE};

pub(super) struct Kafka;

impl Consumer for Kafka {
    type Message = KafkaMessage;

    async fn consume<H: Handler<KafkaMessage>>(task: &Task<'_>, handler: H) -> anyhow::Result<()> {
        let Place::Kafka { brokers, topic } = &task.plan.place else { anyhow::bail!("not on Kafka") };
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", brokers).set("group.id", topic).set("auto.offset.reset", "earliest");
        join(&mut config, task.plan);
        KafkaConsumer::new(config, &[topic], &Scope::new(SCOPE)?, task.deduplicator())
            .with_order(Order::Key)
            .with_record_only()
            .with_settings(task.settings())
            .with_shutdown(task.shutdown.clone())
            .run(handler)
            .await?;
        Ok(())
    }
}

/// The settings of the group's protocol. A killed member is noticed after two seconds, under KIP-848 when the broker says.
fn join(config: &mut ClientConfig, plan: &Plan) {
    if plan.group == Group::Consumer {
        config.set("group.protocol", "consumer");
        return;
    }
    config.set("session.timeout.ms", "2000").set("heartbeat.interval.ms", "300");
    match plan.group {
        Group::Cooperative => config.set("partition.assignment.strategy", "cooperative-sticky"),
        Group::Static => config.set("group.instance.id", format!("worker-{}", plan.worker)),
        Group::Eager | Group::Consumer => config,
    };
}

pub(super) struct Rabbitmq;

impl Consumer for Rabbitmq {
    type Message = AmqpMessage;

    async fn consume<H: Handler<AmqpMessage>>(task: &Task<'_>, handler: H) -> anyhow::Result<()> {
        let Place::Rabbitmq { url, queue } = &task.plan.place else { anyhow::bail!("not on RabbitMQ") };
        AmqpConsumer::new(url, queue, &Scope::new(SCOPE)?, task.deduplicator())
            .with_record_only()
            .with_settings(task.settings())
            .with_reconnect(Backoff { min: Duration::from_millis(50), max: Duration::from_secs(2) })
            .with_shutdown(task.shutdown.clone())
            .run(handler)
            .await?;
        Ok(())
    }
}
