//! The consumer that users build. It runs a handler once per message until shutdown.

mod checks;
mod run;
mod start;

use std::sync::Arc;
use std::time::Duration;

use ackonce::{
    Backoff, CancellationToken, Counts, Deduplicator, Handler, IdSource, MessageIds, OnMissing, Order,
    Result, Scope, Settings,
};
use lapin::Connection;
use lapin::types::FieldTable;

use crate::connection::{Connecting, Source};
use crate::delays::Delays;
use crate::{AmqpHealth, AmqpMessage, AmqpMetrics, MESSAGE_ID_PROPERTY};

/// A RabbitMQ consumer whose handler's effects happen once per message ID, however often the message arrives.
///
/// It consumes one queue, of any type but a stream, and declares nothing. After the loss of connection, channel
/// or queue, it comes back with the same prefetch; [the crate](crate) has the details.
///
/// A crash anywhere leaves claims that lapse with their leases and messages that were not acknowledged; the broker
/// delivers them again, and those whose effect was recorded are not run again.
///
/// ```no_run
/// use std::sync::Arc;
/// use ackonce::{Context, MemoryStore, Scope};
/// use ackonce_amqp::{AmqpConsumer, AmqpMessage};
///
/// # async fn charge(_: &[u8]) -> Result<(), std::io::Error> { Ok(()) }
/// # async fn main_() -> Result<(), Box<dyn std::error::Error>> {
/// let (url, queue) = ("amqp://guest:guest@localhost:5672/%2f", "orders");
/// let counts = AmqpConsumer::new(url, queue, &Scope::new("orders/charge")?, Arc::new(MemoryStore::new()))
///     .with_dead_letters("orders.dead")
///     .run(|_cx: Context, message: AmqpMessage| async move {
///         charge(message.payload()).await?;
///         Ok(())
///     })
///     .await?;
/// println!("{counts:?}");
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct AmqpConsumer {
    pub(crate) source: Source,
    pub(crate) queue: String,
    pub(crate) scope: Scope,
    pub(crate) store: Arc<dyn Deduplicator>,
    pub(crate) settings: Settings,
    pub(crate) ids: MessageIds,
    pub(crate) on_missing: Option<OnMissing>,
    pub(crate) fingerprints: bool,
    pub(crate) order: Order,
    pub(crate) prefetch: Option<u16>,
    pub(crate) dead_letters: Option<(String, Option<String>)>,
    pub(crate) record_only: bool,
    pub(crate) delays: Option<Delays>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) reconnect: Backoff,
    pub(crate) consumer_timeout: Duration,
    pub(crate) delivery_limit: u32,
    pub(crate) management: Option<String>,
    pub(crate) arguments: FieldTable,
    pub(crate) health: AmqpHealth,
}

impl AmqpConsumer {
    /// A consumer of `queue` at `url` (`amqp://user:password@host:port/vhost`, where the vhost `/` is written
    /// `%2f`), with IDs from the property `message_id` ([`MESSAGE_ID_PROPERTY`]), no order, no dead-letter exchange and default
    /// [`Settings`]. Without a dead-letter exchange no message is given up for a failure that may pass
    /// ([`NoDeadLetters`](ackonce::adapter::NoDeadLetters)).
    ///
    /// Unless the URL has `heartbeat=SECONDS`, that is 20: a dead link is noticed after twice as long.
    ///
    /// It may name several hosts of one cluster, `amqp://user:password@a:5672,b:5672/vhost`: they are tried in turn, at
    /// start and after each loss.
    #[must_use]
    pub fn new(url: &str, queue: &str, scope: &Scope, store: Arc<dyn Deduplicator>) -> Self {
        Self::of(Source::urls([url]), queue, scope, store)
    }

    /// The same with several URLs, each with its own user and vhost. They are tried in turn, at start and after each
    /// loss; if all refuse, the first one's answer is the error. At least one, or [`run`](Self::run) refuses.
    #[must_use]
    pub fn new_any<'a>(
        urls: impl IntoIterator<Item = &'a str>,
        queue: &str,
        scope: &Scope,
        store: Arc<dyn Deduplicator>,
    ) -> Self {
        Self::of(Source::urls(urls), queue, scope, store)
    }

    /// The same on a connection of yours. It opens channels there, and new ones when they are lost; when the
    /// connection is lost for good (one that recovers by itself is waited for), the consumer ends with an error.
    /// Dead letters share it: while the broker blocks it for publishing, acks wait, too.
    #[must_use]
    pub fn on(connection: Arc<Connection>, queue: &str, scope: &Scope, store: Arc<dyn Deduplicator>) -> Self {
        Self::of(Source::Given(connection), queue, scope, store)
    }

    /// The same with a connection from `connect` whenever one is needed: for TLS with certificates of your own, or
    /// tokens that expire. Leave lapin's own recovery off.
    pub fn connecting(
        connect: impl Fn() -> Connecting + Send + Sync + 'static,
        queue: &str,
        scope: &Scope,
        store: Arc<dyn Deduplicator>,
    ) -> Self {
        Self::of(Source::Made(Arc::new(connect)), queue, scope, store)
    }

    fn of(source: Source, queue: &str, scope: &Scope, store: Arc<dyn Deduplicator>) -> Self {
        Self {
            source,
            queue: queue.to_owned(),
            scope: scope.clone(),
            store,
            settings: Settings::default(),
            ids: MessageIds::first_of([IdSource::Header(MESSAGE_ID_PROPERTY.into())]),
            on_missing: None,
            fingerprints: true,
            order: Order::Unordered,
            prefetch: None,
            dead_letters: None,
            record_only: false,
            delays: None,
            shutdown: CancellationToken::new(),
            reconnect: Backoff { min: Duration::from_millis(100), max: Duration::from_secs(10) },
            consumer_timeout: Duration::from_secs(30 * 60),
            delivery_limit: 20,
            management: None,
            arguments: FieldTable::default(),
            health: AmqpHealth::new(queue, AmqpMetrics::new(scope.name())),
        }
    }

    /// The sources of IDs, in order. [`IdSource::Header`] with [`MESSAGE_ID_PROPERTY`] is the property `message_id`;
    /// [`IdSource::Key`] is the routing key; a queue has no [`IdSource::Coordinates`].
    #[must_use]
    pub fn with_ids(mut self, ids: MessageIds) -> Self {
        self.ids = ids;
        self
    }

    /// The treatment of a message without one. Default: [`OnMissing::Bury`] with a dead-letter place, else [`OnMissing::Stop`].
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

    /// The messages that keep their order; default [`Order::Unordered`].
    #[must_use]
    pub fn with_order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// The most messages that the broker delivers ahead of acknowledgements, 1 to 65535. Default: four times
    /// [`Settings::concurrency`] (256), or twice [`Settings::chunk`] (1000) with [`run_batch`](Self::run_batch).
    ///
    /// A message that waits for its next attempt, or for the dead-letter place, is one of them: as many such messages as
    /// this stop the consumer. So many are in memory with their bodies, so many are delivered again after a crash, and
    /// so many does a crash charge for, where a quorum queue counts.
    #[must_use]
    pub fn with_prefetch(mut self, messages: u16) -> Self {
        self.prefetch = Some(messages.max(1));
        self
    }

    /// Sends buried messages to this exchange under their own routing key, or under the queue's name if that leads to
    /// no queue, on a connection of its own, mandatory and confirmed before the original is acknowledged. While neither
    /// leads to a queue, nothing is acknowledged.
    ///
    /// A message that the broker does not take as a letter, because headers do not fit into a frame or it is too
    /// large, is buried with less: without its longest headers, without all of them, without its payload, whose SHA-256
    /// stands for it ([`headers::REDUCED`](crate::headers::REDUCED)). If not even that is taken, the store's record
    /// alone has the reason. [`AmqpCounts`](crate::AmqpCounts) counts both.
    #[must_use]
    pub fn with_dead_letters(mut self, exchange: &str) -> Self {
        let key = self.dead_letters.take().and_then(|(_, key)| key);
        self.dead_letters = Some((exchange.to_owned(), key));
        self
    }

    /// The same under this routing key alone. With the default exchange (`""`) it is the name of a queue, which must not
    /// be the one that is consumed.
    #[must_use]
    pub fn with_dead_letters_to(mut self, exchange: &str, routing_key: &str) -> Self {
        self.dead_letters = Some((exchange.to_owned(), Some(routing_key.to_owned())));
        self
    }

    /// Gives messages up after [`Settings::attempts`] where there is no dead-letter place: the record keeps the reason, and
    /// the payload is gone with the ack. Without it they are retried for as long as it takes.
    #[must_use]
    pub fn with_record_only(mut self) -> Self {
        self.record_only = true;
        self
    }

    /// Lets failed messages wait in queues of the broker instead of in hand, for waits that are long against
    /// their number: an hour, not a second. Every attempt after the first comes by a delay queue, behind messages that
    /// were published since, so this is refused together with an [`Order`]. The copy has the body, properties and headers
    /// of the original, but for those of [`headers`](crate::headers); attempts are counted by message ID, and go on.
    ///
    /// Everything else that is handed back goes the same way: a message that another worker holds for longer than
    /// [`Settings::busy_timeout`], one whose store does not answer for [`Settings::store_timeout`], one that waits until near the
    /// consumer time-out. Each delay counts as a step to the next wait. A message that no delay queue takes waits in
    /// hand, for at most the longest back-off of [`Settings::backoff`], and is run again.
    #[must_use]
    pub fn with_delays(mut self, delays: Delays) -> Self {
        self.delays = Some(delays);
        self
    }

    /// Shuts down in good order when this token is cancelled: the consumer is cancelled, running handlers get
    /// [`Settings::shutdown_timeout`], settled messages are acknowledged; the rest, at most the prefetch, goes back.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// The wait between attempts to get a lost connection, channel or queue back; default 100 ms to 10 s. Once it
    /// has started it never gives up; [`Settings::on_start`] applies before.
    #[must_use]
    pub fn with_reconnect(mut self, backoff: Backoff) -> Self {
        self.reconnect = backoff;
        self
    }

    /// The broker's `consumer_timeout`; default 30 minutes, as RabbitMQ's. A delivery that is neither settled nor
    /// running after 5/6 of it is given back, for after all of it the broker closes the channel with everything on
    /// it: to a delay queue with [`with_delays`](Self::with_delays), else by nack, with a warning, since a quorum queue
    /// counts that. [`Duration::MAX`] where it is off. Over AMQP it cannot be asked for.
    #[must_use]
    pub fn with_consumer_timeout(mut self, timeout: Duration) -> Self {
        self.consumer_timeout = timeout;
        self
    }

    /// The queue's `x-delivery-limit`, if it is a quorum queue; default 20, as RabbitMQ's since 4.0. From half of it
    /// a message that comes back is warned of. Over AMQP it cannot be asked for.
    #[must_use]
    pub fn with_delivery_limit(mut self, deliveries: u32) -> Self {
        self.delivery_limit = deliveries;
        self
    }

    /// Asks RabbitMQ's management API at `host:port` (usually 15672, plain HTTP) at start, as the user of the URL: for
    /// the queue's type, its delivery limit, its consumer time-out, and all that lets the broker drop messages, above
    /// all a delivery limit without a dead-letter exchange. Each of these is a warning. A stream is refused, and a
    /// dead-letter exchange that leads back to the queue. Without it, the consumer says which limits it cannot know. Only for
    /// [`new`](Self::new) and [`new_any`](Self::new_any), whose URLs have users.
    #[must_use]
    pub fn with_management(mut self, address: &str) -> Self {
        self.management = Some(address.to_owned());
        self
    }

    /// Arguments of `basic.consume`, such as `x-priority`.
    #[must_use]
    pub fn with_consume_arguments(mut self, arguments: FieldTable) -> Self {
        self.arguments = arguments;
        self
    }

    /// A handle on the consumer's counts of acks, returns and redeliveries.
    #[must_use]
    pub fn metrics(&self) -> AmqpMetrics {
        self.health.metrics().clone()
    }

    /// A handle on the consumer's progress and its waits, for probes and for people.
    #[must_use]
    pub fn health(&self) -> AmqpHealth {
        self.health.clone()
    }

    /// Gives the handler one message at a time, several at once as [`Order`] allows, until shutdown.
    ///
    /// Dropping its future leaves the queue at once; messages in hand are delivered again. A shutdown takes at most
    /// [`Settings::shutdown_timeout`] and 5 seconds, even if the broker never answers.
    ///
    /// # Errors
    /// The consumer ended before a shutdown: [`ErrorKind::Config`](ackonce::ErrorKind::Config) for settings, a store or a queue that
    /// cannot work, and for a broker that refuses or is away as [`Settings::on_start`] says (missing queues and exchanges
    /// count as refused); `Invalid` for a message without an ID under [`OnMissing::Stop`]; `Protocol` for a message that
    /// this client cannot read.
    pub async fn run<H: Handler<AmqpMessage>>(self, handler: H) -> Result<Counts> {
        run::consume(self, handler, ackonce::adapter::Mode::Each).await
    }

    /// Gives the handler a claimed chunk at a time, up to [`Settings::chunk`] messages, until shutdown. Order
    /// holds but for messages that are retried.
    ///
    /// # Errors
    /// As [`run`](Self::run).
    pub async fn run_batch<H: Handler<AmqpMessage>>(self, handler: H) -> Result<Counts> {
        run::consume(self, handler, ackonce::adapter::Mode::Batches).await
    }
}
