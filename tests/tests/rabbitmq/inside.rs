//! A consumer inside the test's own process.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ackonce::{
    Backoff, CancellationToken, Context, Counts, Deduplicator, Failure, MemoryStore, Result, Scope, Settings,
};
use ackonce_amqp::{AmqpConsumer, AmqpCounts, AmqpHealth, AmqpMessage, AmqpMetrics};
use ackonce_tests::amqp::Rabbit;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

/// A consumer that notes which messages took effect.
pub(crate) struct Inside {
    pub(crate) seen: Arc<Mutex<Vec<String>>>,
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) health: AmqpHealth,
    metrics: AmqpMetrics,
    pub(crate) running: JoinHandle<Result<Counts>>,
}

/// Short leases and waits.
pub(crate) fn settings() -> Settings {
    Settings::default()
        .with_lease(Duration::from_millis(1500))
        .with_backoff(Backoff { min: Duration::from_millis(10), max: Duration::from_millis(100) })
        .with_attempts(3)
}

pub(crate) fn consumer(url: &str, queue: &str, store: Arc<dyn Deduplicator>) -> AmqpConsumer {
    AmqpConsumer::new(url, queue, &Scope::new(queue).unwrap(), store)
        .with_settings(settings())
        .with_reconnect(Backoff { min: Duration::from_millis(20), max: Duration::from_millis(500) })
}

pub(crate) fn memory() -> Arc<dyn Deduplicator> {
    Arc::new(MemoryStore::new())
}

impl Inside {
    /// With a memory of its own.
    pub(crate) fn start(rabbit: &Rabbit, queue: &str) -> Self {
        Self::run(consumer(rabbit.url(), queue, memory()))
    }

    /// A message `busy_timeout` waits for a permit of the gate, `fail` fails; all others take effect at once.
    pub(crate) fn run(consumer: AmqpConsumer) -> Self {
        let seen: Arc<Mutex<Vec<String>>> = Arc::default();
        let gate = Arc::new(Semaphore::new(0));
        let shutdown = CancellationToken::new();
        let (metrics, health) = (consumer.metrics(), consumer.health());
        let (noted, held) = (seen.clone(), gate.clone());
        let handler = move |_: Context, message: AmqpMessage| {
            let (noted, held) = (noted.clone(), held.clone());
            async move {
                match message.payload() {
                    b"hold" => held.acquire().await?.forget(),
                    b"fail" => return Err(Failure::from("told to fail")),
                    _ => {}
                }
                noted.lock().unwrap().push(message.message_id().unwrap_or("?").to_owned());
                Ok(())
            }
        };
        let running = tokio::spawn(consumer.with_shutdown(shutdown.clone()).run(handler));
        Self { seen, gate, shutdown, health, metrics, running }
    }

    pub(crate) fn counts(&self) -> AmqpCounts {
        self.metrics.counts()
    }

    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Waits until so many messages are acknowledged.
    pub(crate) async fn until_acked(&self, messages: u64) {
        let end = Instant::now() + Duration::from_secs(60);
        while self.counts().acked < messages {
            assert!(!self.running.is_finished(), "the consumer ended");
            assert!(
                Instant::now() < end,
                "{messages} to acknowledge, {:?}, {:?}",
                self.counts(),
                self.seen()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Shuts it down, and answers what it decided.
    pub(crate) async fn stop(self) -> Result<Counts> {
        self.shutdown.cancel();
        self.running.await.unwrap()
    }

    /// Drops the consumer's future.
    pub(crate) async fn dropped(self) {
        self.running.abort();
        assert!(self.running.await.is_err_and(|error| error.is_cancelled()));
    }

    /// Waits for it to end by itself.
    ///
    /// # Panics
    /// It still runs after five minutes.
    pub(crate) async fn ended(self) -> Result<Counts> {
        let (health, seen) = (self.health.clone(), self.seen());
        match tokio::time::timeout(Duration::from_secs(300), self.running).await {
            Ok(ended) => ended.unwrap(),
            Err(_) => panic!("it goes on: {}; it began with {seen:?}", health.report()),
        }
    }
}

/// `m0`, `m1`, …
pub(crate) fn ids(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| format!("m{n}")).collect()
}

/// These IDs with payload `ok`, but for `special`.
pub(crate) fn told<'a>(
    ids: &'a [String],
    special: &'a [(&'a str, &'a str)],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    let payload = |id: &str| special.iter().find(|(s, _)| *s == id).map_or("ok", |(_, p)| *p);
    ids.iter().map(move |id| (id.as_str(), payload(id)))
}
