//! The high level: a consumer that runs a handler once per message until shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce::{
    CancellationToken, Counts, Deduplicator, Error, ErrorKind, Feed, Graveyard, Handler, IdSource,
    MessageIds, RecordOnly, Result, Runner, Scope, Settings,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use tokio::sync::mpsc;

use crate::books::{Books, KafkaDelivery};
use crate::dead_letters::DeadLetters;
use crate::poll::{Intake, Poller};
use crate::rebalance::Groupie;
use crate::{CommitCounts, Message, retention};

/// How long a client may take to leave its group and close; beyond it, its thread is left behind.
const CLOSE: Duration = Duration::from_secs(10);

/// How long the driver lets a full prefetch queue be before it fetches again. Its default of a second is longer than
/// a fast consumer takes to empty the queue, which then stands still.
const FETCH_BACKOFF_MS: &str = "20";

/// A Kafka consumer whose handler's effects happen once per message ID, however often the message arrives.
///
/// Built from an ordinary [`ClientConfig`]. It sets `enable.auto.commit` and `enable.auto.offset.store` to
/// `false`, for committing is its work, and `auto.offset.reset` to `earliest` if you set nothing: the default
/// `latest` skips the backlog of a new or expired group. It lowers `fetch.queue.backoff.ms` from 1000 to 20 if you
/// set nothing.
///
/// A crash anywhere leaves claims that lapse with their leases and offsets that were not committed; the
/// messages are redelivered, and those whose effect was recorded are not run again.
///
/// ```no_run
/// use std::sync::Arc;
/// use ackonce::{Context, Failure, IdSource, MemoryStore, MessageIds, Scope};
/// use ackonce_kafka::{ClientConfig, KafkaConsumer, Message};
///
/// # async fn charge(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
/// let mut config = ClientConfig::new();
/// config.set("bootstrap.servers", "localhost:9092").set("group.id", "billing");
/// let counts = KafkaConsumer::new(config, &["orders"], &Scope::new("billing/charge")?, Arc::new(MemoryStore::new()))
///     .with_ids(MessageIds::first_of([IdSource::Header("message-id".into())]))
///     .with_dead_letters("orders.dead")
///     .run(|_cx: Context, message: Message| async move {
///         charge(message.payload()).await?;
///         Ok::<(), Failure>(())
///     })
///     .await?;
/// println!("{counts:?}");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct KafkaConsumer {
    config: ClientConfig,
    topics: Vec<String>,
    scope: Scope,
    store: Arc<dyn Deduplicator>,
    settings: Settings,
    ids: MessageIds,
    on_missing: OnMissing,
    fingerprints: bool,
    order: Order,
    dead_letters: Option<String>,
    shutdown: CancellationToken,
    rebalance_drain: Duration,
    commit_interval: Duration,
    max_in_flight: Option<usize>,
    max_bytes: usize,
}

/// Which messages keep their order. Messages side by side run on up to [`Settings::concurrency`] handlers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Messages of one partition run one after another. The default.
    #[default]
    Partition,
    /// Messages with one record key run one after another; messages without a key wait for nobody.
    Key,
    /// No order.
    Unordered,
}

/// What to do with a message that has no usable ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnMissing {
    /// Bury it, with the reason. The default.
    #[default]
    Bury,
    /// End the consumer with an error; nothing is committed past the message.
    Stop,
}

impl KafkaConsumer {
    /// A consumer of `topics`, with IDs from the header `message-id`, order per partition, no dead-letter
    /// topic (a buried message is kept as a record with its reason) and default [`Settings`].
    #[must_use]
    pub fn new(config: ClientConfig, topics: &[&str], scope: &Scope, store: Arc<dyn Deduplicator>) -> Self {
        Self {
            config,
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
            scope: scope.clone(),
            store,
            settings: Settings::default(),
            ids: MessageIds::first_of([IdSource::Header("message-id".into())]),
            on_missing: OnMissing::default(),
            fingerprints: true,
            order: Order::default(),
            dead_letters: None,
            shutdown: CancellationToken::new(),
            rebalance_drain: Duration::from_secs(10),
            commit_interval: Duration::from_millis(200),
            max_in_flight: None,
            max_bytes: 64 << 20,
        }
    }

    /// Where IDs come from.
    #[must_use]
    pub fn with_ids(mut self, ids: MessageIds) -> Self {
        self.ids = ids;
        self
    }

    /// What to do without one.
    #[must_use]
    pub fn with_on_missing(mut self, on_missing: OnMissing) -> Self {
        self.on_missing = on_missing;
        self
    }

    /// Does not look whether the same ID comes with another payload; saves a digest per message.
    #[must_use]
    pub fn without_fingerprints(mut self) -> Self {
        self.fingerprints = false;
        self
    }

    /// How the runner behaves.
    #[must_use]
    pub fn with_settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Which messages keep their order.
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Sends buried messages to this topic, by an idempotent producer with this consumer's connection
    /// settings, confirmed before the offset moves.
    #[must_use]
    pub fn with_dead_letters(mut self, topic: impl Into<String>) -> Self {
        self.dead_letters = Some(topic.into());
        self
    }

    /// Shuts down in good order when this token is cancelled: intake stops, running handlers get
    /// [`Settings::drain`], what is settled is committed.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// How long a rebalance waits for running handlers of revoked partitions; default 10 s. Keep it well under
    /// `max.poll.interval.ms`, and know that the whole group waits.
    #[must_use]
    pub fn with_rebalance_drain(mut self, drain: Duration) -> Self {
        self.rebalance_drain = drain;
        self
    }

    /// How often offsets are committed; default 200 ms. A crash redelivers what was not.
    #[must_use]
    pub fn with_commit_interval(mut self, interval: Duration) -> Self {
        self.commit_interval = interval;
        self
    }

    /// The most messages taken in and not yet settled; default four times [`Settings::chunk`]. At the limit,
    /// partitions are paused while polling goes on.
    #[must_use]
    pub fn with_max_in_flight(mut self, messages: usize) -> Self {
        self.max_in_flight = Some(messages);
        self
    }

    /// The most bytes of messages taken in and not yet settled; default 64 MiB. At the limit, partitions are paused
    /// while polling goes on; a single message may be larger. What the driver has prefetched comes on top, up to
    /// its own `queued.max.messages.kbytes` (64 MiB).
    #[must_use]
    pub fn with_max_bytes(mut self, bytes: usize) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Gives the handler one message at a time, several at once as [`Order`] allows, until shutdown.
    ///
    /// # Errors
    /// What ended it before: settings or a store that cannot work, a Kafka client that cannot go on.
    pub async fn run<H: Handler<Message>>(self, handler: H) -> Result<Counts> {
        self.consume(handler, Feed::Each).await
    }

    /// Gives the handler a claimed chunk at a time, up to [`Settings::chunk`] messages, until shutdown. Order
    /// holds but for messages that are retried.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_batch<H: Handler<Message>>(self, handler: H) -> Result<Counts> {
        self.consume(handler, Feed::Batches).await
    }

    async fn consume<H: Handler<Message>>(mut self, handler: H, feed: Feed) -> Result<Counts> {
        self.config.set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        if self.config.get("auto.offset.reset").is_none() {
            self.config.set("auto.offset.reset", "earliest");
        }
        if self.config.get("fetch.queue.backoff.ms").is_none() {
            self.config.set("fetch.queue.backoff.ms", FETCH_BACKOFF_MS);
        }
        let graveyard: Arc<dyn Graveyard<KafkaDelivery>> = match self.dead_letters.take() {
            Some(topic) => Arc::new(DeadLetters::connect(&self.config, topic).map_err(client_error)?),
            None => Arc::new(RecordOnly),
        };
        let runner =
            Runner::with(self.store.clone(), &self.scope, handler, self.settings.clone(), graveyard)?;
        self.announce(&runner);
        retention::check(&self.config, &self.topics, self.settings.window);
        let books = Arc::new(Books::default());
        let finished = Arc::new(AtomicBool::new(false));
        // A batch keeps its order by itself.
        if feed == Feed::Batches {
            self.order = Order::Unordered;
        }
        let (poller, chunks) = self.poller(&books, &finished)?;
        let (stop, polled) = (runner.clone(), tokio::sync::oneshot::channel());
        let stopped = move || stop.is_stopped();
        let thread = std::thread::Builder::new().name("ackonce-kafka".into());
        let done = polled.0;
        thread
            .spawn(move || {
                let _ = done.send(poller.run(stopped));
            })
            .map_err(|e| {
                Error::new(ErrorKind::Unavailable, "the poll thread did not start").with_source(e)
            })?;
        let stopper = stop_on(self.shutdown.clone(), runner.clone());
        let marking = books.clone();
        let ended = runner.consume(chunks, feed, move |ended| marking.done(ended)).await;
        runner.stop();
        stopper.abort();
        finished.store(true, Ordering::Release);
        let polled = polled.1.await;
        let census = books.census();
        let CommitCounts { commits, failed } = books.counts();
        tracing::info!(target: "ackonce", counts = ?runner.counts(), commits, failed, left = ?census, "consumer ended");
        let consumer =
            polled.unwrap_or_else(|_| Err(Error::new(ErrorKind::Protocol, "the poll thread panicked")));
        match consumer {
            Ok(consumer) => close(consumer).await,
            Err(error) => return Err(ended.err().unwrap_or(error)),
        }
        ended.map(|()| runner.counts())
    }

    fn poller(
        &self,
        books: &Arc<Books>,
        finished: &Arc<AtomicBool>,
    ) -> Result<(Poller, mpsc::Receiver<Vec<ackonce::Laned<KafkaDelivery>>>)> {
        let context = Groupie { books: books.clone(), drain: self.rebalance_drain };
        let consumer: BaseConsumer<Groupie> =
            self.config.create_with_context(context).map_err(client_error)?;
        let topics: Vec<_> = self.topics.iter().map(String::as_str).collect();
        consumer.subscribe(&topics).map_err(client_error)?;
        let intake = Intake {
            scope: self.scope.clone(),
            ids: self.ids.clone(),
            on_missing: self.on_missing,
            fingerprints: self.fingerprints,
            order: self.order,
            chunk: self.settings.chunk,
            max_in_flight: self.max_in_flight.unwrap_or(self.settings.chunk * 4).max(1),
            max_bytes: self.max_bytes.max(1),
            commit_interval: self.commit_interval,
        };
        let (chunks, receiver) = mpsc::channel(1);
        let (books, finished) = (books.clone(), finished.clone());
        Ok((Poller { consumer, books, intake, chunks: Some(chunks), finished }, receiver))
    }

    fn announce<H: Handler<Message>>(&self, runner: &Runner<KafkaDelivery, H>) {
        runner.announce();
        if self.ids.sources().contains(&IdSource::Coordinates) {
            tracing::warn!(target: "ackonce", scope = self.scope.name(), "weakened: topic, partition and offset as \
                an identity recognise redeliveries only; a message published twice runs twice");
        }
    }
}

fn stop_on<H: Handler<Message>>(
    shutdown: CancellationToken,
    runner: Runner<KafkaDelivery, H>,
) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        shutdown.cancelled().await;
        runner.stop();
    })
}

/// Closes the client on a thread of its own: leaving the group talks to a broker that may be gone.
async fn close(consumer: BaseConsumer<Groupie>) {
    let closing = tokio::task::spawn_blocking(move || drop(consumer));
    if tokio::time::timeout(CLOSE, closing).await.is_err() {
        tracing::warn!(target: "ackonce", "the Kafka client did not close in time; the group notices by session.timeout.ms");
    }
}

fn client_error(error: rdkafka::error::KafkaError) -> Error {
    Error::new(ErrorKind::Config, "the Kafka client could not be made").with_source(error)
}
