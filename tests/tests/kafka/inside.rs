//! A topic, a consumer inside of the test's own process, and what it ran.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce::{
    Backoff, CancellationToken, ClaimRequest, Claimed, Context, Counts, Deduplicator, Failure, Handler,
    Lease, MemoryStore, Result, Scope, Settings, Token,
};
use ackonce_kafka::{ClientConfig, Health, KafkaConsumer, Message};
use ackonce_tests::kafka::Kafka;
use ackonce_tests::until;
use tokio::task::JoinHandle;

/// One run of a handler.
#[derive(Debug, Clone)]
pub struct Ran {
    pub id: String,
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub attempt: u32,
    pub key: String,
    pub origin: (String, i32, i64),
    pub at: Instant,
}

/// The runs, in the order of their beginnings.
#[derive(Debug, Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Ran>>>);

impl Log {
    pub fn add(&self, cx: &Context, message: &Message) -> String {
        let id = String::from_utf8_lossy(cx.key().id()).into_owned();
        let (topic, partition, offset) = message.origin();
        self.0.lock().unwrap().push(Ran {
            id: id.clone(),
            topic: message.topic().into(),
            partition: message.partition(),
            offset: message.offset(),
            attempt: cx.attempt(),
            key: cx.idempotency_key("step"),
            origin: (topic.into(), partition, offset),
            at: Instant::now(),
        });
        id
    }

    pub fn all(&self) -> Vec<Ran> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    pub fn ids(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|ran| ran.id.clone()).collect()
    }

    pub fn of(&self, id: &str) -> Vec<Ran> {
        self.all().into_iter().filter(|ran| ran.id == id).collect()
    }

    pub fn of_partition(&self, partition: i32) -> usize {
        self.0.lock().unwrap().iter().filter(|ran| ran.partition == partition).count()
    }
}

/// A topic of one test, and its group.
#[derive(Debug)]
pub struct Topic {
    pub kafka: Kafka,
    pub name: String,
    pub group: String,
    partitions: i32,
}

impl Topic {
    /// On the real Kafka; `None`, said loudly, where there is none.
    pub async fn new(stem: &str, partitions: i32) -> Option<Self> {
        Self::with(stem, partitions, &[]).await
    }

    pub async fn with(stem: &str, partitions: i32, settings: &[(&str, &str)]) -> Option<Self> {
        let topic = Self::unmade(stem, partitions)?;
        topic.kafka.create_with(&topic.name, partitions, settings).await;
        Some(topic)
    }

    /// One that does not exist yet.
    pub fn unmade(stem: &str, partitions: i32) -> Option<Self> {
        let kafka = Kafka::real()?;
        let name = kafka.name(stem);
        Some(Self { kafka, group: format!("{name}-group"), name, partitions })
    }

    /// Another topic beside it.
    pub async fn beside(&self, stem: &str) -> String {
        let name = format!("{}-{stem}", self.name);
        self.kafka.create(&name, 1).await;
        name
    }

    pub fn config(&self) -> ClientConfig {
        self.kafka.group(&self.group)
    }

    pub fn scope(&self) -> Scope {
        Scope::new(self.group.clone()).unwrap()
    }

    pub fn consumer(&self) -> KafkaConsumer {
        self.consumer_with(Arc::new(MemoryStore::new()))
    }

    pub fn consumer_with(&self, store: Arc<dyn Deduplicator>) -> KafkaConsumer {
        self.consumer_of(self.config(), store)
    }

    pub fn consumer_of(&self, config: ClientConfig, store: Arc<dyn Deduplicator>) -> KafkaConsumer {
        KafkaConsumer::new(config, &[&self.name], &self.scope(), store).with_settings(settings())
    }

    /// `p0-3`, … in partition 0, each its own key.
    pub fn fill(&self, partition: i32, numbers: std::ops::Range<u32>) {
        let ids: Vec<_> = numbers.map(|n| format!("p{partition}-{n}")).collect();
        let records = ids.iter().map(|id| (partition, id.as_str(), Some(id.as_str()), "ok"));
        self.kafka.publish(&self.name, records);
    }

    pub fn fill_all(&self, each: u32) {
        (0..self.partitions).for_each(|partition| self.fill(partition, 0..each));
    }

    pub fn committed(&self, partition: i32) -> i64 {
        self.kafka.committed(&self.group, &self.name, partition).unwrap_or(0)
    }

    /// Waits until all of the partition is committed.
    pub async fn until_committed(&self, partition: i32) {
        let end = self.kafka.end(&self.name, partition);
        until(&format!("{}/{partition} is committed to {end}", self.name), || {
            self.committed(partition) == end
        })
        .await;
    }

    pub async fn until_all_committed(&self) {
        for partition in 0..self.partitions {
            self.until_committed(partition).await;
        }
    }
}

pub fn settings() -> Settings {
    Settings::default()
        .with_lease(Duration::from_secs(3))
        .with_drain(Duration::from_secs(5))
        .with_backoff(Backoff { min: Duration::from_millis(20), max: Duration::from_millis(200) })
}

/// A running consumer.
pub struct Running {
    shutdown: CancellationToken,
    pub task: JoinHandle<Result<Counts>>,
    pub health: Health,
}

impl Running {
    pub fn start<H: Handler<Message>>(consumer: KafkaConsumer, handler: H) -> Self {
        let (shutdown, health) = (CancellationToken::new(), consumer.health());
        let task = tokio::spawn(consumer.with_shutdown(shutdown.clone()).run(handler));
        Self { shutdown, task, health }
    }

    /// One whose handler notes each message and succeeds.
    pub fn logging(consumer: KafkaConsumer) -> (Self, Log) {
        let log = Log::default();
        let handler = {
            let log = log.clone();
            move |cx: Context, message: Message| {
                log.add(&cx, &message);
                async { Ok::<(), Failure>(()) }
            }
        };
        (Self::start(consumer, handler), log)
    }

    /// Shuts it down in good order.
    pub async fn stop(self) -> Counts {
        self.shutdown.cancel();
        self.ended().await.unwrap()
    }

    /// Its own end.
    pub async fn ended(self) -> Result<Counts> {
        tokio::time::timeout(Duration::from_secs(60), self.task).await.expect("run() returns").unwrap()
    }

    pub async fn until_assigned(&self, partitions: usize) {
        until("its partitions are assigned", || self.health.report().partitions.len() == partitions).await;
    }
}

/// Something that handlers wait for.
#[derive(Debug, Clone)]
pub struct Gate(Arc<tokio::sync::watch::Sender<bool>>);

impl Gate {
    pub fn shut() -> Self {
        Self(Arc::new(tokio::sync::watch::channel(false).0))
    }

    pub fn open(&self) {
        self.0.send_replace(true);
    }

    pub fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    pub async fn passed(&self) {
        self.0.subscribe().wait_for(|open| *open).await.unwrap();
    }
}

/// Claims a message for somebody else.
pub async fn claim_by_hand(store: &dyn Deduplicator, topic: &Topic, id: &str, lease: Duration) -> Lease {
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
