//! A topic, a consumer inside of the test's own process, and what it ran.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce::store::{ClaimRequest, Claimed, Lease, Token};
use ackonce::{
    Backoff, CancellationToken, Context, Counts, Deduplicator, Failure, Handler, MemoryStore, Result, Scope,
    Settings,
};
use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaHealth, KafkaMessage};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use tokio::task::JoinHandle;

/// One run of a handler.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    pub(crate) id: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) attempt: u32,
    pub(crate) key: String,
    pub(crate) origin: (String, i32, i64),
    pub(crate) at: Instant,
}

/// The runs, in the order of their beginnings.
#[derive(Debug, Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<Ran>>>);

impl Log {
    pub(crate) fn add(&self, cx: &Context, message: &KafkaMessage) -> String {
        let id = String::from_utf8_lossy(cx.key().id()).into_owned();
        let (topic, partition, offset) = message.origin();
        self.0.lock().unwrap().push(Ran {
            id: id.clone(),
            topic: message.topic().into(),
            partition: message.partition(),
            attempt: cx.attempt(),
            key: cx.idempotency_key("step"),
            origin: (topic.into(), partition, offset),
            at: Instant::now(),
        });
        id
    }

    pub(crate) fn all(&self) -> Vec<Ran> {
        self.0.lock().unwrap().clone()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub(crate) fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|ran| ran.id.clone()).collect()
    }

    pub(crate) fn of(&self, id: &str) -> Vec<Ran> {
        self.all().into_iter().filter(|ran| ran.id == id).collect()
    }

    pub(crate) fn of_partition(&self, partition: i32) -> usize {
        self.0.lock().unwrap().iter().filter(|ran| ran.partition == partition).count()
    }
}

/// A topic of one test, and its group.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) kafka: Kafka,
    pub(crate) name: String,
    pub(crate) group: String,
    partitions: i32,
}

impl Topic {
    /// On the real Kafka; `None`, said loudly, where there is none.
    pub(crate) async fn new(stem: &str, partitions: i32) -> Option<Self> {
        Self::with(stem, partitions, &[]).await
    }

    pub(crate) async fn with(stem: &str, partitions: i32, settings: &[(&str, &str)]) -> Option<Self> {
        let topic = Self::unmade(stem, partitions)?;
        topic.kafka.create_with(&topic.name, partitions, settings).await;
        Some(topic)
    }

    /// One that does not exist yet.
    pub(crate) fn unmade(stem: &str, partitions: i32) -> Option<Self> {
        let kafka = Kafka::real()?;
        let name = kafka.name(stem);
        Some(Self { kafka, group: format!("{name}-group"), name, partitions })
    }

    /// Another topic beside it.
    pub(crate) async fn beside(&self, stem: &str) -> String {
        let name = format!("{}-{stem}", self.name);
        self.kafka.create(&name, 1).await;
        name
    }

    /// A seek waits for the fetch that is under way: a short one.
    pub(crate) fn config(&self) -> ClientConfig {
        let mut config = self.kafka.group(&self.group);
        config.set("fetch.wait.max.ms", "50");
        config
    }

    pub(crate) fn scope(&self) -> Scope {
        Scope::new(self.group.clone()).unwrap()
    }

    pub(crate) fn consumer(&self) -> KafkaConsumer {
        self.consumer_with(Arc::new(MemoryStore::new()))
    }

    pub(crate) fn consumer_with(&self, store: Arc<dyn Deduplicator>) -> KafkaConsumer {
        self.consumer_of(self.config(), store)
    }

    pub(crate) fn consumer_of(&self, config: ClientConfig, store: Arc<dyn Deduplicator>) -> KafkaConsumer {
        KafkaConsumer::new(config, &[&self.name], &self.scope(), store).with_settings(settings())
    }

    /// `p0-3`, … in partition 0, each its own key.
    pub(crate) fn fill(&self, partition: i32, numbers: std::ops::Range<u32>) {
        let ids: Vec<_> = numbers.map(|n| format!("p{partition}-{n}")).collect();
        let records = ids.iter().map(|id| (partition, id.as_str(), Some(id.as_str()), "ok"));
        self.kafka.publish(&self.name, records);
    }

    pub(crate) fn fill_all(&self, each: u32) {
        (0..self.partitions).for_each(|partition| self.fill(partition, 0..each));
    }

    pub(crate) fn committed(&self, partition: i32) -> i64 {
        self.kafka.committed(&self.group, &self.name, partition).unwrap_or(0)
    }

    /// Waits until all of the partition is committed.
    pub(crate) async fn until_committed(&self, partition: i32) {
        let end = self.kafka.end(&self.name, partition);
        until(&format!("{}/{partition} is committed to {end}", self.name), || {
            self.committed(partition) == end
        })
        .await;
    }

    pub(crate) async fn until_all_committed(&self) {
        for partition in 0..self.partitions {
            self.until_committed(partition).await;
        }
    }
}

pub(crate) fn settings() -> Settings {
    Settings::default()
        .with_lease(Duration::from_secs(3))
        .with_shutdown_timeout(Duration::from_secs(5))
        .with_attempts(5)
        .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) })
}

/// A running consumer.
pub(crate) struct Running {
    shutdown: CancellationToken,
    pub(crate) task: JoinHandle<Result<Counts>>,
    pub(crate) health: KafkaHealth,
}

impl Running {
    pub(crate) fn start<H: Handler<KafkaMessage>>(consumer: KafkaConsumer, handler: H) -> Self {
        let (shutdown, health) = (CancellationToken::new(), consumer.health());
        let task = tokio::spawn(consumer.with_shutdown(shutdown.clone()).run(handler));
        Self { shutdown, task, health }
    }

    /// One whose handler notes each message and succeeds.
    pub(crate) fn logging(consumer: KafkaConsumer) -> (Self, Log) {
        let log = Log::default();
        let handler = {
            let log = log.clone();
            move |cx: Context, message: KafkaMessage| {
                log.add(&cx, &message);
                async { Ok::<(), Failure>(()) }
            }
        };
        (Self::start(consumer, handler), log)
    }

    /// Shuts it down in good order.
    pub(crate) async fn stop(self) -> Counts {
        self.shutdown.cancel();
        self.ended().await.unwrap()
    }

    /// Its own end.
    pub(crate) async fn ended(self) -> Result<Counts> {
        tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("run() returns").unwrap()
    }

    pub(crate) async fn until_assigned(&self, partitions: usize) {
        until("its partitions are assigned", || self.health.report().partitions.len() == partitions).await;
    }
}

/// Something that handlers wait for.
#[derive(Debug, Clone)]
pub(crate) struct Gate(Arc<tokio::sync::watch::Sender<bool>>);

impl Gate {
    pub(crate) fn shut() -> Self {
        Self(Arc::new(tokio::sync::watch::channel(false).0))
    }

    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    pub(crate) async fn passed(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// Claims a message for somebody else.
pub(crate) async fn claim_by_hand(
    store: &dyn Deduplicator,
    topic: &Topic,
    id: &str,
    lease: Duration,
) -> Lease {
    let request = ClaimRequest {
        key: topic.scope().key(id.to_owned()).unwrap(),
        token: Token::random(),
        lease,
        window: Duration::from_secs(3600),
        fingerprint: None,
    };
    match store.claim(&[request]).await.unwrap().remove(0) {
        Claimed::Acquired(lease) => lease,
        other => panic!("{other:?}"),
    }
}
