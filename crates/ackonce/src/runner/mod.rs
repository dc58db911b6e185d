//! The one runner: claim, heartbeat, handler, retry with back-off, settle, receipt. Adapters translate
//! into it and out of it.

mod beside;
mod bury;
mod claim;
mod deliver;
mod dispatch;
#[cfg(test)]
mod liveness;
mod rare;
mod run;
mod settle;
mod slot;
mod state;
mod trip;

use std::fmt;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::time::Instant;

pub use dispatch::{Mode, Ordered};

use self::state::{State, each};
use crate::bury::{Graveyard, NoDeadLetters};
use crate::class::Class;
use crate::coalesce::Coalesce;
use crate::deduplicator::{Deduplicator, Description};
use crate::error::{Error, ErrorKind, Result};
use crate::handler::Handler;
use crate::heartbeat::{Heartbeat, Hold};
use crate::key::{Key, KeyError, Scope};
use crate::observe::{Counts, InFlight, Metrics, Throttle, register};
use crate::settings::Settings;
use crate::switch::Switch;
use crate::ticket::{Delivery, Job, Receipt, Ticket, Unsettled};

/// Runs a handler once per message, however many times the message is delivered.
///
/// This is the low level, for a loop of your own: make a [`Job`] of a delivery, [`process`](Self::process)
/// it, acknowledge the [`Receipt`]. The adapters' consumers do that for you. Cloning is cheap; clones share
/// everything.
///
/// ```
/// use std::sync::{Arc, Weak};
/// use ackonce::{Context, Failure, MemoryStore, Runner, Scope};
/// use ackonce::adapter::{Delivery, Job, SettledAs};
///
/// struct Order(&'static str);
/// impl Delivery for Order {
///     type Message = &'static str;
///     fn message(&self) -> &'static str { self.0 }
/// }
///
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let handler = |cx: Context, order: &'static str| async move {
///     println!("shipping {order}, attempt {}", cx.attempt());
///     Ok::<(), Failure>(())
/// };
/// let scope = Scope::new("shipping/ship")?;
/// let runner = Runner::new(Arc::new(MemoryStore::new()), &scope, handler)?;
/// for _ in 0..2 {
///     let job = Job::new(scope.key("order-1")?, Order("order-1"));
///     let receipt = runner.process(job).await?;
///     println!("{:?}", receipt.how()); // Run, then Duplicate
///     let _to_acknowledge: Order = receipt.redeem();
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
pub struct Runner<D: Delivery, H> {
    inner: Arc<Inner<D, H>>,
}

struct Inner<D: Delivery, H> {
    /// Itself, for handlers that make trips of their own.
    me: Weak<Self>,
    store: Coalesce,
    scope: Scope,
    handler: H,
    graveyard: Arc<dyn Graveyard<D>>,
    /// True if a message may be given up after its attempts: there is a place for it.
    buries: bool,
    settings: Settings,
    heartbeat: Heartbeat,
    metrics: Arc<Metrics>,
    handlers: Arc<Semaphore>,
    /// Told when a delivery gives its slot back to wait.
    slot_freed: Notify,
    /// One at a time: messages that may have killed a worker.
    quarantine: Arc<Semaphore>,
    stop: Switch,
    abort: Switch,
    /// For lines that come with every failed trip, and with every letter that was not confirmed.
    store_outage: Throttle,
    letter_outage: Throttle,
    past_attempts: Throttle,
}

impl<D: Delivery, H> Inner<D, H> {
    /// Keeps the leases of a group.
    fn hold(&self, group: &[Ticket<D>]) -> Hold {
        let claimed = group.iter().map(|ticket| ticket.claimed).min().unwrap_or_else(Instant::now);
        self.heartbeat.hold(each(group.iter().map(|ticket| ticket.lease.clone())), claimed)
    }
}

impl<D: Delivery, H> Clone for Runner<D, H> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone() }
    }
}

impl<D: Delivery, H> fmt::Debug for Runner<D, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { store, scope, settings, .. } = &*self.inner;
        f.debug_struct("Runner")
            .field("store", store)
            .field("scope", scope)
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}

impl<D: Delivery, H: Handler<D::Message>> Runner<D, H> {
    /// A runner with default [`Settings`] and no dead-letter place ([`NoDeadLetters`]): no message is buried for a
    /// failure that may pass.
    ///
    /// # Errors
    /// [`ErrorKind::Unavailable`] if the heartbeat's thread cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(store: Arc<dyn Deduplicator>, scope: &Scope, handler: H) -> Result<Self> {
        Self::with(store, scope, handler, Settings::default(), Arc::new(NoDeadLetters))
    }

    /// A runner with everything chosen.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for settings that cannot work, [`ErrorKind::Unavailable`] if the heartbeat's
    /// thread cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn with(
        store: Arc<dyn Deduplicator>,
        scope: &Scope,
        handler: H,
        settings: Settings,
        graveyard: Arc<dyn Graveyard<D>>,
    ) -> Result<Self> {
        Self::build(store, scope, handler, settings, graveyard, Heartbeat::start)
    }

    /// The same with the heartbeat as a task of the current runtime, for tests on tokio's paused clock: leases and handlers
    /// then go by one clock. In a program, a handler that blocks its thread would cost its lease.
    ///
    /// # Errors
    /// [`ErrorKind::Config`] for settings that cannot work.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn with_heartbeat_task(
        store: Arc<dyn Deduplicator>,
        scope: &Scope,
        handler: H,
        settings: Settings,
        graveyard: Arc<dyn Graveyard<D>>,
    ) -> Result<Self> {
        Self::build(store, scope, handler, settings, graveyard, Heartbeat::spawn)
    }

    fn build(
        store: Arc<dyn Deduplicator>,
        scope: &Scope,
        handler: H,
        settings: Settings,
        graveyard: Arc<dyn Graveyard<D>>,
        beat: impl FnOnce(Arc<dyn Deduplicator>, Duration, Duration, Arc<Metrics>) -> io::Result<Heartbeat>,
    ) -> Result<Self> {
        settings.check()?;
        if let Some(refusal) = handler.refusal() {
            return Err(Error::new(ErrorKind::Config, refusal));
        }
        // The heartbeat speaks to the store itself: it must not wait behind tasks of a starved runtime.
        let metrics = Arc::new(Metrics::new(scope.name(), handler.class()));
        register(&metrics);
        let beats = beat(store.clone(), settings.lease, settings.window, metrics.clone());
        let heartbeat = beats.map_err(|e| {
            Error::new(ErrorKind::Unavailable, "the heartbeat's thread could not be started").with_source(e)
        })?;
        let inner = |me: &Weak<_>| Inner {
            me: me.clone(),
            store: Coalesce::new(store),
            scope: scope.clone(),
            buries: graveyard.is_place(),
            graveyard,
            metrics,
            heartbeat,
            handler,
            handlers: Arc::new(Semaphore::new(settings.concurrency)),
            settings,
            slot_freed: Notify::new(),
            quarantine: Arc::new(Semaphore::new(1)),
            stop: Switch::default(),
            abort: Switch::default(),
            store_outage: Throttle::default(),
            letter_outage: Throttle::default(),
            past_attempts: Throttle::default(),
        };
        Ok(Self { inner: Arc::new_cyclic(inner) })
    }

    /// Takes one delivery through its whole life: claims it, waits while someone else holds it, runs the
    /// handler under a heartbeat, retries with back-off, buries messages that will never succeed, and settles.
    ///
    /// A crash at any point leaves a claim that lapses with its lease; the redelivery then runs, or finds
    /// the record. Dropping the future does the same without the crash.
    ///
    /// # Errors
    /// The delivery unsettled, if the runner was stopped first or the store refuses for good. It must not be
    /// acknowledged.
    pub async fn process(&self, job: Job<D>) -> std::result::Result<Receipt<D>, Unsettled<D>> {
        let mut in_flight = InFlight::new(self.inner.metrics.clone());
        in_flight.begin(1);
        let outcome = self.inner.deliver(State::Waiting(job, Duration::ZERO), None).await;
        in_flight.end(std::slice::from_ref(&outcome));
        outcome
    }

    /// Consumes chunks of jobs until `input` closes or the runner is stopped, and reports the ends of the
    /// deliveries to `done`, as many at a time as have ended. A broker's consumer is built on it: jobs of one lane run in order, lanes
    /// run side by side up to [`Settings::concurrency`], and jobs that can start are claimed in one trip. Nothing is
    /// claimed that has to wait: a kill charges an attempt to running messages, not to queued ones.
    ///
    /// One message holds back itself and its lane, nothing else. A delivery that waits (for a back-off, for somebody
    /// else who holds its message, for the dead-letter place) gives its handler's place to the next, and `input` is
    /// read as long as fewer jobs could start at once than twice the larger of [`Settings::chunk`] and
    /// [`Settings::concurrency`]. Jobs behind the head of a lane and deliveries that wait are not counted, so memory is
    /// bounded by the feeder alone: an AMQP channel by its prefetch, a Kafka consumer by a limit for each partition.
    ///
    /// After [`stop`](Self::stop), running handlers get [`Settings::shutdown_timeout`] to finish; then they are cancelled.
    ///
    /// # Errors
    /// The consumer ended: the store refuses for good, or [`OnMismatch::Fail`](crate::OnMismatch::Fail).
    pub async fn consume<F>(&self, input: mpsc::Receiver<Vec<Ordered<D>>>, mode: Mode, done: F) -> Result<()>
    where
        F: Fn(Vec<std::result::Result<Receipt<D>, Unsettled<D>>>) + Send + Sync + 'static,
    {
        dispatch::consume(self.inner.clone(), input, mode, done).await
    }

    /// The key of a message in this runner's scope.
    ///
    /// # Errors
    /// [`KeyError`]: the ID is empty or too long.
    pub fn key(&self, id: impl Into<bytes::Bytes>) -> std::result::Result<Key, KeyError> {
        self.inner.scope.key(id)
    }

    /// The name under which no message is processed twice.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.inner.scope
    }

    /// Ends all waiting: deliveries that do not run go back unsettled, running handlers may finish.
    pub fn stop(&self) {
        self.inner.stop.turn_on();
    }

    /// Ends all work: running handlers are cancelled, settles that the store does not answer are given up.
    pub fn abort(&self) {
        self.inner.stop.turn_on();
        self.inner.abort.turn_on();
    }

    /// True if it was stopped, by [`stop`](Self::stop), [`abort`](Self::abort) or an error that ends it.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.inner.stop.is_on()
    }

    /// Counts of the decisions so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.inner.metrics.counts()
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    /// The promise under the present settings, with everything that weakens it; also logged, a line each.
    pub fn announce(&self) -> Guarantee {
        let guarantee = Guarantee { class: self.inner.metrics.class, store: self.inner.store.describe() };
        let scope = self.inner.scope.name();
        tracing::info!(target: "ackonce", scope, class = %guarantee.class, store = %guarantee.store.name,
            lease_ms = u64::try_from(self.inner.settings.lease.as_millis()).unwrap_or(u64::MAX),
            window_s = self.inner.settings.window.as_secs(), attempts = self.inner.settings.attempts,
            "{}", guarantee.class.promise());
        for weakness in &guarantee.store.weaknesses {
            tracing::warn!(target: "ackonce", scope, store = %guarantee.store.name, "weakened: {weakness}");
        }
        if !self.inner.buries {
            tracing::warn!(target: "ackonce", scope, "there is no dead-letter place: failures are retried without end, \
                and the payload of a message that the handler calls a permanent failure is given up");
        }
        guarantee
    }
}

/// The class of a runner and its store, as printed at start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarantee {
    /// The class, from the handler's type.
    pub class: Class,
    /// The store, with everything that weakens the class.
    pub store: Description,
}

impl fmt::Display for Guarantee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "class {} on {}: {}", self.class, self.store.name, self.class.promise())?;
        for weakness in &self.store.weaknesses {
            write!(f, "\n  weakened: {weakness}")?;
        }
        Ok(())
    }
}
