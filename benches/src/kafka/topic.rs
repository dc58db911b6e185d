//! The topic that all arms read, each under a group of its own.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ackonce_kafka::ClientConfig;
use anyhow::Context as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};

use crate::messages::id;

pub(crate) const PARTITIONS: i32 = 12;
/// Messages that may wait on a topic which is published while it is read.
const AHEAD: usize = 500_000;
pub(crate) const BODY: [u8; 200] = [b'x'; 200];

pub(crate) struct Topic {
    pub(crate) name: String,
    pub(crate) messages: usize,
    brokers: String,
    groups: AtomicUsize,
    _in_process: Option<MockCluster<'static, DefaultProducerContext>>,
}

impl Topic {
    pub(crate) fn fill(brokers: Option<&str>, messages: usize) -> anyhow::Result<Self> {
        Self::fill_partitions(brokers, PARTITIONS, messages)
    }

    pub(crate) fn fill_partitions(
        brokers: Option<&str>,
        partitions: i32,
        messages: usize,
    ) -> anyhow::Result<Self> {
        static MADE: AtomicUsize = AtomicUsize::new(0);
        let name = format!("ackonce-bench-{}-{}", std::process::id(), MADE.fetch_add(1, Ordering::Relaxed));
        let (brokers, in_process) = match brokers {
            Some(brokers) => (brokers.to_owned(), None),
            None => {
                let cluster = MockCluster::new(1)?;
                (cluster.bootstrap_servers(), Some(cluster))
            }
        };
        let groups = AtomicUsize::new(0);
        let topic = Self { name, messages, brokers, groups, _in_process: in_process };
        topic.create(partitions)?;
        topic.publish(0..messages, || messages)?;
        Ok(topic)
    }

    fn create(&self, partitions: i32) -> anyhow::Result<()> {
        if let Some(cluster) = &self._in_process {
            return cluster.create_topic(&self.name, partitions, 1).context("creating the topic");
        }
        let admin: AdminClient<DefaultClientContext> = self.config("admin").create()?;
        let new = NewTopic::new(&self.name, partitions, TopicReplication::Fixed(1));
        let answers = admin.create_topics([&new], &AdminOptions::new());
        tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(answers)?;
        Ok(())
    }

    /// Publishes these messages, as long as fewer than [`AHEAD`] have not been `read`.
    pub(crate) fn publish(&self, messages: Range<usize>, read: impl Fn() -> usize) -> anyhow::Result<()> {
        let producer: ThreadedProducer<DefaultProducerContext> = self
            .config("producer")
            .set("compression.type", "lz4")
            .set("linger.ms", "50")
            .create_with_context(DefaultProducerContext)?;
        for n in messages {
            while n > read() + AHEAD {
                std::thread::sleep(Duration::from_millis(1));
            }
            let (id, key) = (id(n as u64), (n % 1000).to_string());
            let headers = OwnedHeaders::new().insert(Header { key: "message-id", value: Some(&id) });
            let mut record = BaseRecord::to(&self.name).key(&key).payload(&BODY).headers(headers);
            while let Err((_, unsent)) = producer.send(record) {
                std::thread::sleep(Duration::from_millis(5));
                record = unsent;
            }
        }
        producer.flush(Duration::from_secs(60)).context("publishing")
    }

    /// A client of a group that reads the topic from its beginning.
    pub(crate) fn config(&self, group: &str) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", group)
            .set("auto.offset.reset", "earliest")
            // As Ackonce sets it: a bare loop would stand still for most of the time, too.
            .set("fetch.queue.backoff.ms", "20");
        config
    }

    /// A name that no arm had before, for a group and its scope.
    pub(crate) fn group(&self) -> String {
        format!("{}-{}", self.name, self.groups.fetch_add(1, Ordering::Relaxed))
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if self._in_process.is_some() {
            return;
        }
        let Ok(admin) = self.config("admin").create::<AdminClient<DefaultClientContext>>() else { return };
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        let _ = runtime.block_on(admin.delete_topics(&[&self.name], &AdminOptions::new()));
    }
}
