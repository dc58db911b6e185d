//! The consumer that users build. It runs a handler once per message until shutdown.

mod checks;
mod prepared;
mod retention;
mod run;
mod start;

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::Mode;
use ackonce::{
    CancellationToken, Counts, Deduplicator, Handler, IdSource, MessageIds, OnMissing, Order, Result, Scope,
    Settings,
};
use rdkafka::ClientConfig;

use crate::{KafkaHealth, KafkaMessage, RetryTopic, Signs};

/// A Kafka consumer whose handler's effects happen once per message ID, however often the message arrives.
///
/// Built from an ordinary [`ClientConfig`]. Committing is its own work: it stores the offsets of settled messages with
/// the driver, so `enable.auto.commit=true` and `enable.auto.offset.store=true` are refused. Where you set nothing,
/// `auto.offset.reset` is `earliest` (the driver's `latest` skips the backlog of a new or expired group),
/// `queued.max.messages.kbytes` is 2048 for each partition, `fetch.queue.backoff.ms` is 20, and
/// `statistics.interval.ms` is 5000.
///
/// One message holds back itself and those that must come after it, nothing else: each partition has a queue, limits
/// and a commit of its own, and the group is served even if all of them are full. [The crate](crate) has its
/// answer to each fault.
///
/// A crash anywhere leaves claims that lapse with their leases and offsets that were not committed; the
/// messages are redelivered, and those whose effect was recorded are not run again.
///
/// ```no_run
/// use std::sync::Arc;
/// use ackonce::{Context, IdSource, MemoryStore, MessageIds, Scope};
/// use ackonce_kafka::{ClientConfig, KafkaConsumer, KafkaMessage};
///
/// # async fn charge(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092").set("group.id", "billing");
/// let counts = KafkaConsumer::new(config, &["orders"], &Scope::new("billing/charge")?, Arc::new(MemoryStore::new()))
///     .with_ids(MessageIds::first_of([IdSource::Header("message-id".into())]))
///     .with_dead_letters("orders.dead")
///     .run(|_cx: Context, message: KafkaMessage| async move {
///         charge(message.payload()).await?;
///         Ok(())
///     })
///     .await?;
/// println!("{counts:?}");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct KafkaConsumer {
    pub(crate) config: ClientConfig,
    pub(crate) topics: Vec<String>,
    pub(crate) scope: Scope,
    pub(crate) store: Arc<dyn Deduplicator>,
    pub(crate) settings: Settings,
    pub(crate) ids: MessageIds,
    pub(crate) on_missing: Option<OnMissing>,
    pub(crate) fingerprints: bool,
    pub(crate) order: Order,
    pub(crate) dead_letters: Option<String>,
    pub(crate) record_only: bool,
    pub(crate) retry_topics: Vec<RetryTopic>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) commit_interval: Duration,
    pub(crate) max_in_flight: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_ahead: usize,
    pub(crate) health: KafkaHealth,
    pub(crate) signs: Signs,
}

impl KafkaConsumer {
    /// A consumer of `topics`, with IDs from the header `message-id`, order per partition, no dead-letter topic and
    /// default [`Settings`]. Without a dead-letter topic no message is given up for a failure that may pass
    /// ([`NoDeadLetters`](ackonce::adapter::NoDeadLetters)).
    #[must_use]
    pub fn new(config: ClientConfig, topics: &[&str], scope: &Scope, store: Arc<dyn Deduplicator>) -> Self {
        Self {
            config,
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            scope: scope.clone(),
            store,
            settings: Settings::default(),
            ids: MessageIds::first_of([IdSource::Header("message-id".into())]),
            on_missing: None,
            fingerprints: true,
            order: Order::Source,
            dead_letters: None,
            record_only: false,
            retry_topics: Vec::new(),
            shutdown: CancellationToken::new(),
            rebalance_timeout: Duration::from_secs(10),
            commit_interval: Duration::from_millis(200),
            max_in_flight: 10_000,
            max_bytes: 64 << 20,
            max_ahead: 10_000,
            health: KafkaHealth::new(scope.name()),
            signs: Signs::default(),
        }
    }

    /// The places of message IDs.
    #[must_use]
    pub fn with_ids(mut self, ids: MessageIds) -> Self {
        self.ids = ids;
        self
    }

    /// The treatment of messages without an ID; default [`OnMissing::Bury`] with a dead-letter topic, else
    /// [`OnMissing::Stop`].
    #[must_use]
    pub fn with_on_missing(mut self, on_missing: OnMissing) -> Self {
        self.on_missing = Some(on_missing);
        self
    }

    /// Does not look whether the same ID comes with another payload; saves a digest per message.
    #[must_use]
    pub fn without_fingerprints(mut self) -> Self {
        self.fingerprints = false;
        self
    }

    /// The settings of the runner.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The messages that keep their order; default [`Order::Source`]: those of one partition.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sends buried messages to this topic, by an idempotent producer with this consumer's connection settings,
    /// confirmed before the offset moves. The topic has to exist, and the subscription must not read it. A letter that
    /// is too large for it goes without the larger of payload and headers, then without both; digest and place of the
    /// payload stand in for it.
    #[must_use]
    pub fn with_dead_letters(mut self, topic: impl Into<String>) -> Self {
        self.dead_letters = Some(topic.into());
        self
    }

    /// Gives messages up after [`Settings::attempts`] where there is no dead-letter topic: the record keeps the reason, and
    /// the payload is gone once the topic's retention has passed. Without it they are retried for as long as it takes.
    #[must_use]
    pub fn with_record_only(mut self) -> Self {
        self.record_only = true;
        self
    }

    /// Moves a message whose handler failed to the next of these topics, which hold it until it is due; the last one
    /// takes all further failures. Nothing waits behind it meanwhile, so it loses its place among the messages of its
    /// partition and key. Message ID, attempts and record stay its own at every hop; it is buried after
    /// [`Settings::attempts`], where there is a dead-letter topic. The topics have to exist and belong to this group alone; they are consumed with the
    /// others. A duration stands for the topic `<group.id>.retry.<seconds>s`.
    ///
    /// ```
    /// # use ackonce_kafka::KafkaConsumer;
    /// # use std::time::Duration;
    /// # fn with(consumer: KafkaConsumer) -> KafkaConsumer {
    /// consumer.with_retry_topics([("orders.retry.1m", Duration::from_secs(60)), ("orders.retry.1h", Duration::from_secs(3600))])
    /// # }
    /// ```
    #[must_use]
    pub fn with_retry_topics(mut self, topics: impl IntoIterator<Item = impl Into<RetryTopic>>) -> Self {
        self.retry_topics = topics.into_iter().map(Into::into).collect();
        self
    }

    /// Shuts down in good order when this token is cancelled: intake stops, running handlers get
    /// [`Settings::shutdown_timeout`], settled offsets are committed.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// The longest that a revocation waits for running handlers of its partitions; default 10 s, at most an hour. The group
    /// waits with it, so keep it well under `max.poll.interval.ms`. Messages that have not begun are not waited for.
    #[must_use]
    pub fn with_rebalance_timeout(mut self, drain: Duration) -> Self {
        self.rebalance_timeout = drain;
        self
    }

    /// The interval between commits; default 200 ms. A crash redelivers the messages after the last commit.
    #[must_use]
    pub fn with_commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// The most messages taken in and not yet settled, of all partitions together; default 10,000. Half of it is
    /// divided among the partitions, so that a stuck one takes nothing from the share of another; the other half goes
    /// to the first that needs it. A partition at its limit is not read; the driver prefetches for it up to its own
    /// limit, `queued.max.messages.kbytes` (2048 unless you set it).
    #[must_use]
    pub fn with_max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = messages.max(1);
        self
    }

    /// The most bytes of messages taken in and not yet settled; default 64 MiB, shared as the messages are. A single
    /// message may be larger.
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes.max(1);
        self
    }

    /// The distance in messages that a partition may run ahead of its first unsettled one; default 10,000. At the limit
    /// that partition alone waits. The commit stays before the unsettled message, so a restart reads as many again and
    /// looks each up in the store.
    #[must_use]
    pub fn with_max_ahead(mut self, messages: usize) -> Self {
        self.max_ahead = messages.max(1);
        self
    }

    /// The signs by which a topic that was created again is noticed; for tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_signs(mut self, signs: Signs) -> Self {
        self.signs = signs;
        self
    }

    /// Follows the consumer while it runs: liveness, lag, the oldest message and the reason for its wait.
    #[must_use]
    pub fn health(&self) -> KafkaHealth {
        self.health.clone()
    }

    /// Gives the handler one message at a time, several at once as [`Order`] allows, until shutdown.
    ///
    /// Dropping the returned future leaves the group within seconds; running handlers are cancelled.
    ///
    /// # Errors
    /// The cause of an end before the shutdown: settings that cannot be honoured, a store that refuses, a Kafka client
    /// that cannot go on, a message without an ID under [`OnMissing::Stop`]; at start, as
    /// [`Settings::on_start`] says, brokers that are away or refuse.
    pub async fn run<H: Handler<KafkaMessage>>(self, handler: H) -> Result<Counts> {
        run::consume(self, handler, Mode::Each).await
    }

    /// Gives the handler a claimed chunk at a time, up to [`Settings::chunk`] messages, until shutdown. Order
    /// holds but for messages that are retried.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_batch<H: Handler<KafkaMessage>>(self, handler: H) -> Result<Counts> {
        run::consume(self, handler, Mode::Batches).await
    }
}
