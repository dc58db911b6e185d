//! All that is made of a consumer's settings before anything is connected.

use std::sync::Arc;

use ackonce::adapter::{Graveyard, Intake, Mode, NoDeadLetters, RecordOnly};
use ackonce::{OnFailure, OnMissing, Order, Result};
use rdkafka::ClientConfig;

use super::start::Needs;
use super::{KafkaConsumer, checks};
use crate::delayer::Retrier;
use crate::delays::{Ladder, ladder};
use crate::driver::client_error;
use crate::letters::DeadLetters;
use crate::partition::{Limits, PartitionDelivery};
use crate::publisher::KafkaPublisher;

/// All that is made of the consumer's settings before anything is connected.
pub(super) struct Prepared {
    pub(super) config: ClientConfig,
    pub(super) ladder: Ladder,
    pub(super) subscription: Vec<String>,
    pub(super) publisher: Option<KafkaPublisher>,
    pub(super) graveyard: Arc<dyn Graveyard<PartitionDelivery>>,
    pub(super) intake: Arc<Intake>,
    pub(super) limits: Limits,
}

impl KafkaConsumer {
    /// Looks at the settings, as a run does at its start. Nothing is connected.
    ///
    /// # Errors
    /// [`Config`](ackonce::ErrorKind::Config), naming the setting that cannot be honoured.
    pub fn check(&self) -> Result<()> {
        self.settings.check()?;
        checked(self).map(drop)
    }
}

/// The driver's configuration, the retry topics and the subscription.
fn checked(consumer: &KafkaConsumer) -> Result<(ClientConfig, Ladder, Vec<String>)> {
    checks::settings(&consumer.settings, consumer.rebalance_timeout)?;
    consumer.ids.check()?;
    let config = checks::config(&consumer.config, consumer.commit_interval)?;
    let ladder = ladder(&consumer.retry_topics, config.get("group.id").unwrap_or_default())?;
    let subscription = checks::subscription(&consumer.topics, &ladder, consumer.dead_letters.as_deref())?;
    Ok((config, ladder, subscription))
}

impl Prepared {
    pub(super) fn of(consumer: &mut KafkaConsumer, feed: Mode) -> Result<Self> {
        let (config, ladder, subscription) = checked(consumer)?;
        let dead_letters = consumer.dead_letters.as_deref();
        if !ladder.is_empty() {
            consumer.settings.on_failure = OnFailure::HandBack;
        }
        // A batch keeps its order by itself.
        if feed == Mode::Batches {
            consumer.order = Order::Unordered;
        }
        let publisher = match dead_letters.is_some() || !ladder.is_empty() {
            true => {
                Some(KafkaPublisher::connect(&config, consumer.health.shared_scope()).map_err(client_error)?)
            }
            false => None,
        };
        let graveyard: Arc<dyn Graveyard<PartitionDelivery>> = match (dead_letters, &publisher) {
            (Some(topic), Some(publisher)) => {
                Arc::new(DeadLetters { topic: topic.to_owned(), publisher: publisher.clone() })
            }
            _ if consumer.record_only => Arc::new(RecordOnly),
            _ => Arc::new(NoDeadLetters),
        };
        let by_default = if dead_letters.is_some() { OnMissing::Bury } else { OnMissing::Stop };
        let intake = Arc::new(Intake {
            scope: consumer.scope.clone(),
            ids: consumer.ids.clone(),
            on_missing: consumer.on_missing.unwrap_or(by_default),
            fingerprints: consumer.fingerprints,
            order: consumer.order.clone(),
        });
        let limits = limits(consumer, feed);
        Ok(Self { config, ladder, subscription, publisher, graveyard, intake, limits })
    }

    pub(super) fn needs(&self, consumer: &KafkaConsumer) -> Needs {
        let (patterns, topics): (Vec<_>, _) =
            consumer.topics.iter().cloned().partition(|t| t.starts_with('^'));
        let dead =
            consumer.dead_letters.iter().map(|topic| (topic.clone(), "KafkaConsumer::with_dead_letters"));
        let retry = self.ladder.iter().map(|(topic, _)| (topic.clone(), "KafkaConsumer::with_retry_topics"));
        Needs { topics, patterns: !patterns.is_empty(), targets: dead.chain(retry).collect() }
    }

    pub(super) fn retrier(&self, consumer: &KafkaConsumer) -> Option<Retrier> {
        let publisher = self.publisher.clone().filter(|_| !self.ladder.is_empty())?;
        Some(Retrier {
            ladder: self.ladder.clone(),
            publisher,
            intake: self.intake.clone(),
            backoff: consumer.settings.backoff,
            health: consumer.health.clone(),
        })
    }
}

/// Of a partition whose messages run one after another, no more than a chunk is worth holding. Behind a stuck key, or
/// beside a stuck message, the others go on as far as the commit may stay behind.
fn limits(consumer: &KafkaConsumer, feed: Mode) -> Limits {
    let (chunk, concurrency) = (consumer.settings.chunk, consumer.settings.concurrency);
    let partition = match (feed, &consumer.order) {
        (Mode::Batches, _) => chunk.saturating_mul(2),
        (Mode::Each, Order::Source) => chunk,
        (Mode::Each, Order::Key | Order::Header(_)) => consumer.max_ahead,
        (Mode::Each, Order::Unordered) => chunk.max(concurrency).saturating_mul(2),
    };
    Limits {
        messages: consumer.max_in_flight,
        bytes: consumer.max_bytes,
        partition: partition.max(1),
        ahead: consumer.max_ahead,
    }
}
