//! Kafka: inside this process, or a cluster of the user's.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{
    BaseRecord, DefaultProducerContext, Producer as _, ProducerContext, ThreadedProducer,
};
use rdkafka::{ClientConfig, ClientContext, Offset, TopicPartitionList};
use tokio::runtime::Handle;

use super::super::plan::Plan;
use super::Position;

/// Partitions of the topic.
const PARTITIONS: i32 = 6;
const TIMEOUT: Duration = Duration::from_secs(15);
/// The time that a killed worker keeps its partitions. Of the in-process broker: it waits 3 s for more members of a
/// new group, and forgets those whose session ends while they wait; a second and a half less than the
/// session when a member comes or goes.
const SHORT_SESSION: Duration = Duration::from_millis(3500);
/// Of a cluster: the least that `group.min.session.timeout.ms` allows unless it was changed.
const SESSION: Duration = Duration::from_secs(6);

/// A running cluster.
pub(crate) enum Kafka {
    /// librdkafka's mock cluster: the real protocol on a real port, records in memory.
    InProcess(MockCluster<'static, DefaultProducerContext>),
    /// Somebody else's.
    Cluster { brokers: String, runtime: Handle },
}

impl Kafka {
    pub(super) fn start(brokers: Option<&str>, runtime: &Handle) -> Result<Self> {
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

    pub(super) fn describe(&self) -> String {
        match self {
            Self::InProcess(mock) => format!("in-process Kafka broker on {}", mock.bootstrap_servers()),
            Self::Cluster { brokers, .. } => format!("Kafka at {brokers}"),
        }
    }

    pub(super) fn brokers(&self) -> String {
        match self {
            Self::InProcess(mock) => mock.bootstrap_servers(),
            Self::Cluster { brokers, .. } => brokers.clone(),
        }
    }

    /// The time that a killed worker keeps its partitions.
    pub(super) fn session(&self) -> Duration {
        match self {
            Self::InProcess(_) => SHORT_SESSION,
            Self::Cluster { .. } => SESSION,
        }
    }

    /// The time that a stopped worker stands still: past its leases. In a cluster also until others have its
    /// partitions; the in-process broker gives a member's ID to another one when it forgot the first, and
    /// must not meet both.
    pub(super) fn pause(&self, lease: Duration) -> Duration {
        match self {
            Self::InProcess(_) => self.session() * 7 / 10,
            Self::Cluster { .. } => (lease * 3 / 2).max(self.session() * 2),
        }
    }

    pub(super) fn create_topic(&self, topic: &str) -> Result<()> {
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

    /// Removes the demo's topics and groups from a cluster.
    pub(super) fn clean_up(&self, topic: &str, groups: &[&str]) -> Result<()> {
        let Self::Cluster { runtime, .. } = self else { return Ok(()) };
        let admin = self.admin()?;
        // A group that never committed is not there; the rest of others, the broker forgets with time.
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
    fn watcher(&self, group: &str) -> Result<BaseConsumer> {
        Ok(self.config().set("group.id", group).set("enable.auto.commit", "false").create()?)
    }

    /// Publishes everything; `each` is called with the number published so far.
    pub(super) fn publish(&self, topic: &str, plan: &Plan, each: impl Fn(u64)) -> Result<()> {
        let receipts = Receipts::default();
        let producer: ThreadedProducer<_> = ClientConfig::new()
            .set("bootstrap.servers", self.brokers())
            // Only the plan's duplicates are to be published twice.
            .set("enable.idempotence", "true")
            // Repeated shapes compress well, and the in-process broker keeps 5 MiB of each partition as it got them.
            .set("compression.type", "lz4")
            .set("linger.ms", "50")
            .set("batch.size", "1000000")
            .create_with_context(receipts.clone())?;
        for (n, &index) in (1..).zip(&plan.deliveries) {
            let planned = &plan.messages[index];
            let payload = planned.sample.payload(&planned.id);
            let headers = OwnedHeaders::new()
                .insert(Header { key: "message-id", value: Some(&planned.id) })
                .insert(Header { key: "type", value: Some(planned.sample.kind) });
            let mut record = BaseRecord::to(topic).key(&planned.key).payload(&payload).headers(headers);
            while let Err((error, unsent)) = producer.send(record) {
                if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                    return Err(error).context("publishing");
                }
                std::thread::sleep(Duration::from_millis(5));
                record = unsent;
            }
            each(n);
        }
        producer.flush(Duration::from_secs(60)).context("publishing: the broker does not confirm")?;
        let confirmed = receipts.confirmed.load(Ordering::Relaxed);
        if confirmed != plan.deliveries.len() as u64 {
            bail!("the broker confirmed {confirmed} of {} messages", plan.deliveries.len());
        }
        Ok(())
    }

    /// Fails if the broker dropped some: the in-process one keeps 5 MiB of each partition and says nothing.
    pub(super) fn check_kept(&self, topic: &str, published: usize) -> Result<()> {
        let kept: i64 = self.ends(topic)?.iter().map(|(first, next)| next - first).sum();
        if usize::try_from(kept).ok() != Some(published) {
            bail!(
                "the broker kept {kept} of {published} messages; lower --messages, or use a cluster with --brokers \
                 whose topics keep them longer"
            );
        }
        Ok(())
    }

    /// First and next offset of each partition.
    fn ends(&self, topic: &str) -> Result<Vec<(i64, i64)>> {
        let watcher = self.watcher("ackonce-demo")?;
        (0..PARTITIONS)
            .map(|p| watcher.fetch_watermarks(topic, p, TIMEOUT).context("asking for the ends of the topic"))
            .collect()
    }

    /// Follows a group to the end of the topic.
    pub(super) fn follow(&self, topic: &str, group: &str) -> Result<Committed> {
        let ends = self.ends(topic)?.into_iter().map(|(_, next)| next).collect();
        Ok(Committed { watcher: self.watcher(group)?, topic: topic.to_owned(), ends })
    }
}

/// The offsets that a group has committed.
pub(crate) struct Committed {
    watcher: BaseConsumer,
    topic: String,
    /// The next offset of each partition: where the group is done.
    ends: Vec<i64>,
}

impl Committed {
    pub(super) fn position(&self) -> Position {
        let committed = self.committed();
        Position {
            done: u64::try_from(committed.iter().sum::<i64>()).unwrap_or(0),
            at_end: committed == self.ends,
            text: format!("offsets at {committed:?}"),
        }
    }

    /// The group's offset in each partition; 0 where it has none yet, or where the broker does not say.
    fn committed(&self) -> Vec<i64> {
        let mut asked = TopicPartitionList::new();
        for partition in (0..).take(self.ends.len()) {
            asked.add_partition(&self.topic, partition);
        }
        let answer = self.watcher.committed_offsets(asked, Duration::from_secs(2)).unwrap_or_default();
        let offset = |partition| match answer.find_partition(&self.topic, partition)?.offset() {
            Offset::Offset(n) => Some(n),
            _ => None,
        };
        (0..).take(self.ends.len()).map(|partition| offset(partition).unwrap_or(0)).collect()
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

/// Counts the broker's confirmations.
#[derive(Debug, Clone, Default)]
struct Receipts {
    confirmed: Arc<AtomicU64>,
}

impl ClientContext for Receipts {}

impl ProducerContext for Receipts {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_ok() {
            self.confirmed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
