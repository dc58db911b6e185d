//! The broker: inside this process, or a cluster of the user's.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use tokio::runtime::Handle;

/// Partitions of the topic.
pub(crate) const PARTITIONS: i32 = 6;
const TIMEOUT: Duration = Duration::from_secs(15);
/// How long a killed worker keeps its partitions. Of the in-process broker: it waits 3 s for more members of a
/// new group, and forgets those whose session ends while they wait; a second and a half less than the
/// session when a member comes or goes.
const SHORT_SESSION: Duration = Duration::from_millis(3500);
/// Of a cluster: the least that `group.min.session.timeout.ms` allows unless it was changed.
const SESSION: Duration = Duration::from_secs(6);

/// A running broker.
pub(crate) enum Broker {
    /// librdkafka's mock cluster: the real protocol on a real port, records in memory.
    InProcess(MockCluster<'static, DefaultProducerContext>),
    /// Somebody else's.
    Cluster { brokers: String, runtime: Handle },
}

impl Broker {
    pub(crate) fn start(brokers: Option<&str>, runtime: &Handle) -> Result<Self> {
        match brokers {
            None => Ok(Self::InProcess(
                MockCluster::new(1).context("the in-process broker cannot listen on 127.0.0.1")?,
            )),
            Some(brokers) => {
                let broker = Self::Cluster { brokers: brokers.to_owned(), runtime: runtime.clone() };
                broker.watcher("ackonce-demo")?.fetch_metadata(None, TIMEOUT).with_context(|| {
                    format!("no Kafka broker answers at {brokers}; change --brokers, or leave it out to use the in-process one")
                })?;
                Ok(broker)
            }
        }
    }

    pub(crate) fn brokers(&self) -> String {
        match self {
            Self::InProcess(mock) => mock.bootstrap_servers(),
            Self::Cluster { brokers, .. } => brokers.clone(),
        }
    }

    /// How long a killed worker keeps its partitions.
    pub(crate) fn session(&self) -> Duration {
        match self {
            Self::InProcess(_) => SHORT_SESSION,
            Self::Cluster { .. } => SESSION,
        }
    }

    /// How long a stopped worker stands still: past its leases. In a cluster also until others have its
    /// partitions; the in-process broker gives a member's ID to another one when it forgot the first, and
    /// must not meet both.
    pub(crate) fn pause(&self, lease: Duration) -> Duration {
        match self {
            Self::InProcess(_) => self.session() * 7 / 10,
            Self::Cluster { .. } => (lease * 3 / 2).max(self.session() * 2),
        }
    }

    pub(crate) fn create_topic(&self, topic: &str) -> Result<()> {
        match self {
            Self::InProcess(mock) => mock.create_topic(topic, PARTITIONS, 1).context("creating the topic"),
            Self::Cluster { runtime, .. } => {
                // -1: as many replicas as the cluster's default.
                let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(-1));
                let admin = self.admin()?;
                let answers = runtime.block_on(admin.create_topics([&new], &options()));
                one(answers).with_context(|| format!("the cluster does not let us create the topic {topic}"))
            }
        }
    }

    /// Removes what the demo made on a cluster.
    pub(crate) fn clean_up(&self, topic: &str, groups: &[&str]) -> Result<()> {
        let Self::Cluster { runtime, .. } = self else { return Ok(()) };
        let admin = self.admin()?;
        // A group that never committed is not there; what is left of others, the broker forgets with time.
        let _ = runtime.block_on(admin.delete_groups(groups, &options()));
        let answers = runtime.block_on(admin.delete_topics(&[topic], &options()))?;
        match answers.into_iter().next() {
            Some(Err((name, code))) => {
                bail!("the topic {name} could not be deleted ({code}); delete it by hand")
            }
            _ => Ok(()),
        }
    }

    fn admin(&self) -> Result<AdminClient<rdkafka::client::DefaultClientContext>> {
        Ok(self.config().create()?)
    }

    fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.brokers());
        config
    }

    /// A consumer that looks at a group without joining it.
    pub(crate) fn watcher(&self, group: &str) -> Result<BaseConsumer> {
        Ok(self.config().set("group.id", group).set("enable.auto.commit", "false").create()?)
    }

    /// First and next offset of each partition.
    pub(crate) fn ends(&self, topic: &str) -> Result<Vec<(i64, i64)>> {
        let watcher = self.watcher("ackonce-demo")?;
        (0..PARTITIONS)
            .map(|p| watcher.fetch_watermarks(topic, p, TIMEOUT).context("asking for the ends of the topic"))
            .collect()
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(TIMEOUT)).operation_timeout(Some(TIMEOUT))
}

fn one(answers: rdkafka::error::KafkaResult<Vec<rdkafka::admin::TopicResult>>) -> Result<()> {
    match answers?.into_iter().next() {
        Some(Ok(_)) => Ok(()),
        Some(Err((_, code))) => Err(anyhow!("{code}")),
        None => Err(anyhow!("no answer")),
    }
}
