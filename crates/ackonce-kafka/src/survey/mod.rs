//! Facts about brokers, topics and a group, and a sample of messages, for programs that judge a set-up. Nothing is
//! committed, created or joined.

mod ask;
mod sample;

use std::collections::BTreeMap;
use std::time::Duration;

use ackonce::{Error, ErrorKind, Result};
use rdkafka::ClientConfig;
use rdkafka::error::RDKafkaErrorCode;

use crate::KafkaMessage;

/// The facts that [`KafkaSurvey::of`] finds.
#[derive(Debug)]
#[non_exhaustive]
pub struct KafkaSurvey {
    /// The number of brokers.
    pub brokers: usize,
    /// The settings of one of the brokers, or the reason why it does not tell them.
    pub broker: std::result::Result<BTreeMap<String, String>, String>,
    /// The topics that were asked for, patterns replaced by the topics that they match.
    pub topics: Vec<TopicFacts>,
    /// The names of those that are consumed.
    pub consumed: Vec<String>,
    /// The group's places in the consumed topics, or the reason why they are not told. Without the places of partitions
    /// that have no leader.
    pub places: std::result::Result<Vec<GroupPlace>, String>,
}

/// A topic.
#[derive(Debug)]
#[non_exhaustive]
pub struct TopicFacts {
    /// Its name.
    pub name: String,
    /// The broker's refusal of it: [`UnknownTopicOrPartition`](RDKafkaErrorCode::UnknownTopicOrPartition) for a missing one.
    pub refusal: Option<RDKafkaErrorCode>,
    /// The number of its partitions.
    pub partitions: usize,
    /// Those of them that have no leader.
    pub leaderless: usize,
    /// The fewest replicas of a partition.
    pub replicas: usize,
    /// The most replicas of a partition that are behind.
    pub behind: usize,
    /// Its settings, defaults included, or the reason why the broker does not tell them.
    pub settings: std::result::Result<BTreeMap<String, String>, String>,
}

impl TopicFacts {
    /// A setting of the topic.
    #[must_use]
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.as_ref().ok()?.get(name).map(String::as_str)
    }

    /// A setting that is a number, such as `retention.ms`.
    #[must_use]
    pub fn number(&self, name: &str) -> Option<i64> {
        self.setting(name)?.parse().ok()
    }
}

/// The place of a group in a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupPlace {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The next offset that the group would read; `None` if it has committed none.
    pub next: Option<i64>,
    /// The first offset that is still there.
    pub first: i64,
    /// The offset that the next message will have.
    pub end: i64,
}

impl KafkaSurvey {
    /// Asks the brokers of a consumer with these settings, of which `group.id` names the group, for the topics that it
    /// `consumes`, names or patterns, and for `others` such as its dead-letter topic. Each question takes `limit` at most.
    ///
    /// # Errors
    /// - [`Config`](ErrorKind::Config): the settings, or a login that is refused.
    /// - [`Unavailable`](ErrorKind::Unavailable): no broker answers.
    pub async fn of(
        config: &ClientConfig,
        consumes: &[String],
        others: &[String],
        limit: Duration,
    ) -> Result<Self> {
        let (config, consumes, others) = (config.clone(), consumes.to_vec(), others.to_vec());
        ask::survey(config, consumes, others, limit).await
    }

    /// Up to `count` of the latest messages of these topics, as equally many of each partition as there are. They are read
    /// without the group. Fewer come where a partition does not answer within `limit`, all partitions together.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable): the topics cannot be read, for want of a right for instance.
    pub async fn sample(
        config: &ClientConfig,
        topics: &[String],
        count: usize,
        limit: Duration,
    ) -> Result<Vec<KafkaMessage>> {
        let (config, topics) = (config.clone(), topics.to_vec());
        on_thread(move || sample::sample(&config, &topics, count, limit)).await
    }
}

/// The driver's calls wait for brokers, so they run on a thread of their own, which a dropped caller leaves behind.
async fn on_thread<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    std::thread::Builder::new()
        .name("ackonce-kafka-survey".into())
        .spawn(move || drop(answer.send(work())))
        .map_err(|e| Error::new(ErrorKind::Unavailable, "a thread did not start").with_source(e))?;
    answered.await.map_err(|_| Error::new(ErrorKind::Protocol, "the look at Kafka panicked"))?
}
