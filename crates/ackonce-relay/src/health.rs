//! The state of a relay, for probes.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Follows a [`Relay`](crate::Relay) while it runs. Cloning is cheap.
#[derive(Clone, Default)]
pub struct RelayHealth(Arc<Mutex<State>>);

#[derive(Default)]
enum State {
    /// The sink is not there yet, or the source has not been asked.
    #[default]
    Starting,
    Kafka(ackonce_kafka::KafkaHealth),
    Amqp(ackonce_amqp::AmqpHealth),
    Webhook {
        listens: bool,
    },
}

impl RelayHealth {
    /// True if it makes progress, or waits for something that a restart would not bring back.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.ask(|state| match state {
            State::Starting => true,
            State::Kafka(health) => health.is_live(),
            State::Amqp(health) => health.is_live(),
            State::Webhook { listens } => *listens,
        })
    }

    /// True if it takes messages in.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ask(|state| match state {
            State::Starting => false,
            State::Kafka(health) => health.is_ready(),
            State::Amqp(health) => health.is_ready(),
            State::Webhook { listens } => *listens,
        })
    }

    /// The details for a person: partitions or the queue, with the reason of each wait.
    #[must_use]
    pub fn details(&self) -> String {
        self.ask(|state| match state {
            State::Starting => "starting".to_owned(),
            State::Kafka(health) => health.report().to_string(),
            State::Amqp(health) => health.report().to_string(),
            State::Webhook { listens: true } => "listening".to_owned(),
            State::Webhook { listens: false } => "ended".to_owned(),
        })
    }

    /// Messages of the source that are not settled yet: of a Kafka source, the sum over the partitions that it has; of a
    /// RabbitMQ source, those ready in the queue and those in hand here. `None` for webhooks, and until the broker has told.
    #[must_use]
    pub fn lag(&self) -> Option<u64> {
        self.ask(|state| match state {
            State::Kafka(health) => {
                let report = health.report();
                if report.partitions.is_empty() {
                    return None;
                }
                let lags = report.partitions.iter().map(|partition| u64::try_from(partition.lag?).ok());
                lags.sum::<Option<u64>>()
            }
            State::Amqp(health) => {
                let report = health.report();
                report.backlog.map(|ready| u64::from(ready) + report.in_flight as u64)
            }
            State::Starting | State::Webhook { .. } => None,
        })
    }

    fn ask<T>(&self, question: impl FnOnce(&State) -> T) -> T {
        question(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set(&self, state: State) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    pub(crate) fn is_kafka(&self, health: ackonce_kafka::KafkaHealth) {
        self.set(State::Kafka(health));
    }

    pub(crate) fn is_amqp(&self, health: ackonce_amqp::AmqpHealth) {
        self.set(State::Amqp(health));
    }

    pub(crate) fn is_webhook(&self, listens: bool) {
        self.set(State::Webhook { listens });
    }
}

impl fmt::Debug for RelayHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayHealth").field("live", &self.is_live()).field("ready", &self.is_ready()).finish()
    }
}
