//! A real Kafka, or loudly the mock cluster.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ackonce_kafka::ClientConfig;
use ackonce_kafka::rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use ackonce_kafka::rdkafka::client::DefaultClientContext;
use ackonce_kafka::rdkafka::consumer::{BaseConsumer, Consumer};
use ackonce_kafka::rdkafka::message::{Header, OwnedHeaders, OwnedMessage};
use ackonce_kafka::rdkafka::mocking::MockCluster;
use ackonce_kafka::rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer, ThreadedProducer};
use ackonce_kafka::rdkafka::util::Timeout;
use ackonce_kafka::rdkafka::{Offset, TopicPartitionList};
use ackonce_testkit::servers::address;

use crate::acceptance::{Broker, Place};

/// Partitions of an acceptance run's topic.
const PARTITIONS: i32 = 6;
const WAIT: Timeout = Timeout::After(Duration::from_secs(60));

/// The broker of one test.
#[derive(Debug)]
pub struct Kafka {
    brokers: String,
    mock: Option<Mock>,
}

struct Mock(MockCluster<'static, DefaultProducerContext>);

impl std::fmt::Debug for Mock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MockCluster")
    }
}

impl Kafka {
    /// The Kafka of `ACKONCE_TEST_KAFKA`, or the in-process mock cluster, said loudly; with
    /// `ACKONCE_REQUIRE_SERVERS=1` that is a failure.
    pub fn get() -> Self {
        if let Some(real) = Self::real() {
            return real;
        }
        let mock = MockCluster::new(1).unwrap();
        Self { brokers: mock.bootstrap_servers(), mock: Some(Mock(mock)) }
    }

    /// The real one alone, for tests that the mock cannot serve: `None`, said loudly, where there is none.
    pub fn real() -> Option<Self> {
        Some(Self { brokers: address("ACKONCE_TEST_KAFKA")?, mock: None })
    }

    /// Its listening address.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A client's settings.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("topic.metadata.refresh.interval.ms", "1000");
        config
    }

    /// A consumer's settings: a killed member is noticed within about two seconds.
    pub fn group(&self, group: &str) -> ClientConfig {
        let mut config = self.config();
        config.set("group.id", group).set("session.timeout.ms", "2000").set("heartbeat.interval.ms", "300");
        config
    }

    /// A name nobody has, here or in an earlier run.
    pub fn name(&self, stem: &str) -> String {
        static N: AtomicU64 = AtomicU64::new(0);
        format!("{stem}-{}-{}", std::process::id(), N.fetch_add(1, Ordering::Relaxed))
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    /// Creates a topic.
    pub async fn create(&self, topic: &str, partitions: i32) {
        if let Some(Mock(mock)) = &self.mock {
            return mock.create_topic(topic, partitions, 1).unwrap();
        }
        self.create_with(topic, partitions, &[]).await;
    }

    /// Creates a topic with settings of its own.
    pub async fn create_with(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let topic = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
        for result in self.admin().create_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }

    /// Makes it a topic of so many partitions.
    pub async fn add_partitions(&self, topic: &str, partitions: usize) {
        let more = NewPartitions::new(topic, partitions);
        for result in self.admin().create_partitions(&[more], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
    }

    /// The end of a partition's log.
    pub fn end(&self, topic: &str, partition: i32) -> i64 {
        let consumer: BaseConsumer = self.config().create().unwrap();
        // After a start of the broker a partition has no leader for a while.
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            match consumer.fetch_watermarks(topic, partition, WAIT) {
                Ok((_, end)) => return end,
                Err(error) => assert!(Instant::now() < until, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// `pause`, `resume`, `stop`, `kill` or `start`, done by `scripts/servers`.
    pub fn control(&self, what: &str) {
        let servers = std::env::var_os("ACKONCE_SERVERS").expect("started by scripts/servers");
        assert!(
            std::process::Command::new(servers).args([what, "kafka"]).status().unwrap().success(),
            "{what}"
        );
    }

    /// Deletes a topic and waits until the broker has forgotten it.
    pub async fn delete(&self, topic: &str) {
        for result in self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap() {
            result.unwrap();
        }
        let consumer: BaseConsumer = self.config().create().unwrap();
        crate::until("the topic is gone", || {
            let metadata = consumer.fetch_metadata(None, WAIT).unwrap();
            metadata.topics().iter().all(|t| t.name() != topic)
        })
        .await;
    }

    /// Publishes records, each confirmed: `(partition, key, message-id, payload)`.
    pub fn publish<'a>(&self, topic: &str, records: impl IntoIterator<Item = Record<'a>>) {
        publish(&self.brokers, topic, records);
    }

    /// The group's commit for a partition: the next offset it would read.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.group(group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let list = consumer.committed_offsets(list, WAIT).ok()?;
        match list.find_partition(topic, partition)?.offset() {
            Offset::Offset(next) => Some(next),
            _ => None,
        }
    }

    /// Everything in a topic of one partition.
    pub fn read(&self, topic: &str) -> Vec<OwnedMessage> {
        let consumer: BaseConsumer = self.config().set("group.id", "reader").create().unwrap();
        let (_, high) = consumer.fetch_watermarks(topic, 0, WAIT).unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let mut all: Vec<OwnedMessage> = Vec::new();
        while i64::try_from(all.len()).unwrap() < high {
            if let Some(message) = consumer.poll(WAIT) {
                all.push(message.unwrap().detach());
            }
        }
        all
    }
}

/// Partition, key, message ID and payload.
pub type Record<'a> = (i32, &'a str, Option<&'a str>, &'a str);

/// Publishes records, each confirmed.
pub fn publish<'a>(brokers: &str, topic: &str, records: impl IntoIterator<Item = Record<'a>>) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("linger.ms", "5").set("message.max.bytes", "50000000");
    let producer: ThreadedProducer<DefaultProducerContext> = config.create().unwrap();
    for (partition, key, id, payload) in records {
        let mut record = BaseRecord::to(topic).partition(partition).key(key).payload(payload);
        if let Some(id) = id {
            record =
                record.headers(OwnedHeaders::new().insert(Header { key: "message-id", value: Some(id) }));
        }
        producer.send(record).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(WAIT).unwrap();
}

impl Broker for Kafka {
    fn place(&self) -> Place {
        Place::Kafka(self.brokers.clone())
    }

    async fn create(&self, stem: &str) -> String {
        let topic = self.name(stem);
        Self::create(self, &topic, PARTITIONS).await;
        topic
    }

    async fn publish(&self, topic: &str, ids: &[String]) {
        let (brokers, topic, ids) = (self.brokers.clone(), topic.to_owned(), ids.to_vec());
        let publishing = move || {
            let records = ids.iter().enumerate().map(|(n, id)| {
                let partition = i32::try_from(n).unwrap() % PARTITIONS;
                (partition, id.as_str(), Some(id.as_str()), "{}")
            });
            publish(&brokers, &topic, records);
        };
        tokio::task::spawn_blocking(publishing).await.unwrap();
    }

    async fn is_through(&self, topic: &str, messages: usize) -> bool {
        let group = format!("{topic}-group");
        let committed = (0..PARTITIONS).filter_map(|p| self.committed(&group, topic, p)).sum::<i64>();
        committed == i64::try_from(messages).unwrap()
    }

    async fn outage(&self, _: usize) {
        panic!("Kafka has no outages in an acceptance run");
    }
}
