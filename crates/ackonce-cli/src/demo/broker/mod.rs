//! The broker: Kafka, or a RabbitMQ of the user's.

mod kafka;
mod rabbitmq;

use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;

use super::args::{BrokerKind, DemoArgs};
use super::plan::Plan;
use super::setting::UsageError;
use kafka::{Committed, Kafka};
use rabbitmq::{Queue, RabbitMq};

/// A running broker.
pub(crate) enum Broker {
    Kafka(Kafka),
    RabbitMq(Box<RabbitMq>),
}

/// The source of a group's messages.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Source {
    Kafka { brokers: String, topic: String, group: String, session_ms: u64 },
    RabbitMq { url: String, queue: String },
}

/// Follows the acknowledgements of a group of workers.
pub(crate) enum Watcher {
    Kafka(Committed),
    RabbitMq(Queue),
}

/// The progress of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    /// Deliveries.
    pub(crate) done: u64,
    pub(crate) at_end: bool,
    /// The same in words.
    pub(crate) text: String,
}

/// Refuses flags that do not go together.
pub(crate) fn check(args: &DemoArgs) -> Result<(), UsageError> {
    let wrong = |why: &str| Err(UsageError(why.to_owned()));
    match (args.broker, &args.url, &args.brokers) {
        (BrokerKind::Kafka, None, _) | (BrokerKind::Amqp, Some(_), None) => Ok(()),
        (BrokerKind::Amqp, None, _) => {
            wrong("--broker amqp needs --url, such as amqp://guest:guest@localhost:5672/%2f")
        }
        (BrokerKind::Amqp, ..) => wrong("--brokers is of Kafka; RabbitMQ is at --url"),
        (BrokerKind::Kafka, ..) => wrong("--url is of --broker amqp; Kafka is at --brokers"),
    }
}

impl Broker {
    pub(crate) fn start(args: &DemoArgs, runtime: &Handle) -> Result<Self> {
        match &args.url {
            Some(url) => RabbitMq::connect(url, runtime).map(|rabbitmq| Self::RabbitMq(Box::new(rabbitmq))),
            None => Kafka::start(args.brokers.as_deref(), runtime).map(Self::Kafka),
        }
    }

    /// Its kind and place.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Kafka(kafka) => kafka.describe(),
            Self::RabbitMq(rabbitmq) => rabbitmq.describe(),
        }
    }

    /// The time that a stopped worker stands still: past its leases.
    pub(crate) fn pause(&self, lease: Duration) -> Duration {
        match self {
            Self::Kafka(kafka) => kafka.pause(lease),
            Self::RabbitMq(_) => lease * 3 / 2,
        }
    }

    /// The quiet time at the end of a group after which it is done.
    pub(crate) fn quiet(&self, lease: Duration) -> Duration {
        match self {
            // Committed messages are settled.
            Self::Kafka(_) => Duration::ZERO,
            // A queue does not count messages that are delivered and not acknowledged. Those of a dead worker come back at
            // once, and waits for a lease at most.
            Self::RabbitMq(_) => lease * 2,
        }
    }

    /// Makes a topic, or an exchange with a queue for each group.
    pub(crate) fn create(&self, topic: &str, groups: &[&str]) -> Result<()> {
        match self {
            Self::Kafka(kafka) => kafka.create_topic(topic),
            Self::RabbitMq(rabbitmq) => rabbitmq.create(topic, groups),
        }
    }

    /// Publishes everything; `each` is called with the number published so far. Fails if the broker does not keep
    /// all of it for every group.
    pub(crate) fn publish(
        &self,
        topic: &str,
        groups: &[&str],
        plan: &Plan,
        each: impl Fn(u64),
    ) -> Result<()> {
        let all = plan.deliveries.len();
        match self {
            Self::Kafka(kafka) => {
                kafka.publish(topic, plan, each)?;
                kafka.check_kept(topic, all)
            }
            Self::RabbitMq(rabbitmq) => {
                rabbitmq.publish(topic, plan, each)?;
                rabbitmq.check_kept(groups, all)
            }
        }
    }

    /// The settings of a group's workers.
    pub(crate) fn source(&self, topic: &str, group: &str) -> Source {
        match self {
            Self::Kafka(kafka) => Source::Kafka {
                brokers: kafka.brokers(),
                topic: topic.to_owned(),
                group: group.to_owned(),
                session_ms: u64::try_from(kafka.session().as_millis()).unwrap_or(u64::MAX),
            },
            Self::RabbitMq(rabbitmq) => {
                Source::RabbitMq { url: rabbitmq.url().to_owned(), queue: group.to_owned() }
            }
        }
    }

    /// Follows a group, which has `all` deliveries before it.
    pub(crate) fn follow(&self, topic: &str, group: &str, all: usize) -> Result<Watcher> {
        match self {
            Self::Kafka(kafka) => kafka.follow(topic, group).map(Watcher::Kafka),
            Self::RabbitMq(rabbitmq) => rabbitmq.follow(group, all).map(Watcher::RabbitMq),
        }
    }

    /// Removes the demo's queues or topics.
    pub(crate) fn clean_up(&self, topic: &str, groups: &[&str]) -> Result<()> {
        match self {
            Self::Kafka(kafka) => kafka.clean_up(topic, groups),
            Self::RabbitMq(rabbitmq) => rabbitmq.clean_up(topic, groups),
        }
    }
}

impl Watcher {
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Kafka(committed) => committed.position(),
            Self::RabbitMq(queue) => queue.position(),
        }
    }
}
