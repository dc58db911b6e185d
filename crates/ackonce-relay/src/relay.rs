//! From a source and a sink to a consumer that runs until its shutdown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ackonce::{
    Backoff, CancellationToken, Class, Counts, Deduplicator, Error, ErrorKind, MessageIds, OnStart, Order,
    Result, Scope, Settings,
};
use tokio::time::Instant;

use crate::deliver::Deliver;
use crate::health::RelayHealth;
use crate::kind::SourceKind;
use crate::plan::{IdPlace, Plan};
use crate::{Gone, Sink, SinkUrl, SourceUrl};

/// The interval at which a start is looked at, and a sink that is away is asked again.
const LOOK: Duration = Duration::from_millis(200);
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// The time for a sink to end its connections.
const CLOSE: Duration = Duration::from_secs(5);

/// The settings of a relay; those that are not set are the source's adapter's defaults.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RelayOptions {
    /// The places of message IDs; the first that is present decides. Default: the header `message-id` of Kafka, the property
    /// `message_id` of AMQP.
    pub ids: Vec<IdPlace>,
    /// [`Class::Keyed`] (the default where the idempotency key goes along) or [`Class::Leased`].
    pub class: Option<Class>,
    /// [`Settings::lease`].
    pub lease: Option<Duration>,
    /// [`Settings::window`].
    pub window: Option<Duration>,
    /// [`Settings::attempts`].
    pub attempts: Option<u32>,
    /// [`Settings::backoff`].
    pub backoff: Option<Backoff>,
    /// [`Settings::concurrency`].
    pub concurrency: Option<usize>,
    /// [`Settings::shutdown_timeout`].
    pub shutdown_timeout: Option<Duration>,
    /// The order; default per partition for Kafka, none for AMQP.
    pub order: Option<Order>,
    /// The topic or exchange for messages that are given up. Without one none is given up: a message that the sink refuses
    /// is tried again for as long as it takes.
    pub dead_letter: Option<String>,
    /// Kafka's retry topics with their delays.
    pub retry_topics: Vec<(String, Duration)>,
    /// The longest wait for a sink's answer to one message; default 30 s.
    pub timeout: Option<Duration>,
    /// The time within which source and sink must be there; default a minute. Zero ends with an error for anything that is
    /// not there at once.
    pub start_timeout: Option<Duration>,
}

/// Consumes a source, and delivers each message once to a sink.
///
/// ```no_run
/// use std::sync::Arc;
/// use ackonce::{MemoryStore, Scope};
/// use ackonce_relay::{RelayOptions, Relay};
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let relay = Relay::new(
///     "kafka://localhost:9092/orders?group=billing".parse()?,
///     "http://localhost:8080/orders".parse()?,
///     &Scope::new("billing")?,
///     Arc::new(MemoryStore::new()),
///     RelayOptions::default(),
/// )?;
/// let counts = relay.run().await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Relay {
    from: SourceUrl,
    to: SinkUrl,
    scope: Scope,
    store: Arc<dyn Deduplicator>,
    options: RelayOptions,
    settings: Settings,
    class: Class,
    ids: Option<MessageIds>,
    shutdown: CancellationToken,
    health: RelayHealth,
}

impl Relay {
    /// A relay, checked as far as that goes without a connection.
    ///
    /// # Errors
    /// [`ErrorKind::Config`], naming the option that this source or sink cannot honour.
    pub fn new(
        from: SourceUrl,
        to: SinkUrl,
        scope: &Scope,
        store: Arc<dyn Deduplicator>,
        options: RelayOptions,
    ) -> Result<Self> {
        let class = class(&to, options.class)?;
        suits(&from, &options)?;
        if from.queues().iter().any(|queue| to.queues().contains(queue)) {
            return refuse(format!(
                "the sink {to} is the relay's own source: each message would come back; choose another topic or queue"
            ));
        }
        let settings = settings(from.defaults()?, &options);
        settings.check()?;
        let ids = ids(&from, &options.ids)?;
        let (scope, shutdown) = (scope.clone(), CancellationToken::new());
        let relay = Self {
            from,
            to,
            scope,
            store,
            options,
            settings,
            class,
            ids,
            shutdown,
            health: RelayHealth::default(),
        };
        relay.from.check(relay.plan()).map_err(|error| relay.refused_source(error))?;
        Ok(relay)
    }

    fn plan(&self) -> Plan {
        Plan {
            scope: self.scope.clone(),
            store: self.store.clone(),
            settings: self.settings.clone(),
            ids: self.ids.clone(),
            order: self.options.order.clone(),
            dead_letter: self.options.dead_letter.clone(),
            retry_topics: self.options.retry_topics.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    fn refused_source(&self, error: Error) -> Error {
        Error::new(error.kind(), format!("the source {} cannot be used", self.from)).with_source(error)
    }

    /// Shuts down in good order when this token is cancelled: intake stops, messages at the sink get
    /// [`Settings::shutdown_timeout`], settled ones are acknowledged.
    #[must_use]
    pub fn with_shutdown(mut self, shutdown: CancellationToken) -> Self {
        self.shutdown = shutdown;
        self
    }

    /// Follows the relay while it runs.
    #[must_use]
    pub fn health(&self) -> RelayHealth {
        self.health.clone()
    }

    /// The class.
    #[must_use]
    pub fn class(&self) -> Class {
        self.class
    }

    /// The effective settings of the runner.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The places of message IDs, in words.
    #[must_use]
    pub fn id_places(&self) -> String {
        if !self.options.ids.is_empty() {
            return self.options.ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        }
        match self.from.kind() {
            SourceKind::Kafka => "header:message-id".to_owned(),
            SourceKind::Amqp => "property".to_owned(),
            SourceKind::Webhook => "as the provider says".to_owned(),
        }
    }

    /// The order.
    #[must_use]
    pub fn order(&self) -> Order {
        self.options.order.clone().unwrap_or(match self.from.kind() {
            SourceKind::Kafka => Order::Source,
            SourceKind::Amqp | SourceKind::Webhook => Order::Unordered,
        })
    }

    /// The longest wait for a sink's answer to one message.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.options.timeout.unwrap_or(DEFAULT_TIMEOUT)
    }

    /// The time within which source and sink must be there.
    #[must_use]
    pub fn start_timeout(&self) -> Duration {
        self.options.start_timeout.unwrap_or(DEFAULT_START)
    }

    /// Everything that weakens the promise as it is set up, the store's weaknesses among it.
    #[must_use]
    pub fn weaknesses(&self) -> Vec<String> {
        let mut all = self.store.describe().weaknesses;
        if self.class == Class::Leased {
            all.push("class leased: a message is doubled when the relay dies or stalls between delivery and record".to_owned());
        }
        for place in &self.options.ids {
            match place {
                IdPlace::Payload => all.push("id payload: two messages with equal bodies are one".to_owned()),
                IdPlace::Key => all.push(
                    "id key: right only where a key names an event; where it names a customer, say, all of the customer's messages are one"
                        .to_owned(),
                ),
                _ => {}
            }
        }
        if self.options.dead_letter.is_none() && self.from.kind() != SourceKind::Webhook {
            all.push(
                "no dead-letter place: a message that the sink always refuses is tried again without end"
                    .to_owned(),
            );
        }
        all
    }

    /// Relays until the shutdown.
    ///
    /// A crash anywhere leaves claims that lapse with their leases and messages that were not acknowledged. They are
    /// delivered again, with the same idempotency key.
    ///
    /// # Errors
    /// The relay ended before its shutdown: a source or a sink that refuses, one that was not there within
    /// [`RelayOptions::start_timeout`], a sink that is gone for good, and the errors of the source's adapter.
    pub async fn run(self) -> Result<Counts> {
        let deadline = Instant::now() + self.start_timeout().min(LONGEST_START);
        let sink = self.to.open(self.scope.name(), self.timeout(), self.settings.concurrency)?;
        if !self.sink_is_there(&*sink, deadline).await? {
            return Ok(Counts::default());
        }
        let deliver = Deliver {
            sink: sink.clone(),
            presence: Arc::default(),
            class: self.class,
            buries: self.options.dead_letter.is_some(),
            shutdown: self.shutdown.clone(),
            shutdown_timeout: self.settings.shutdown_timeout,
        };
        let plan = self.plan();
        let was_ready = AtomicBool::new(false);
        let mut running = Box::pin(self.from.run(plan, deliver, &self.health));
        let ran = tokio::select! {
            ran = &mut running => ran.map_err(|error| match was_ready.load(Ordering::Relaxed) {
                true => error,
                false => self.refused_source(error),
            }),
            late = self.source_is_late(deadline, &was_ready) => {
                self.shutdown.cancel();
                (&mut running).await.and(Err(late))
            }
        };
        drop(running);
        let _ = tokio::time::timeout(CLOSE, sink.close()).await;
        match sink.gone() {
            Some(Gone::Closed) => {
                let scope = self.scope.name();
                tracing::warn!(target: "ackonce", scope, "the reader of {} has closed it; messages that were not written are not acknowledged", self.to);
                ran
            }
            Some(Gone::Failed(why)) => {
                let text = format!("{why}; messages that were not written are not acknowledged");
                Err(Error::new(ErrorKind::Unavailable, text))
            }
            None => ran,
        }
    }

    /// Waits for a sink that is away. False if shut down first.
    async fn sink_is_there(&self, sink: &dyn Sink, deadline: Instant) -> Result<bool> {
        let mut said = false;
        loop {
            let error = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Ok(false),
                checked = sink.check() => match checked {
                    Ok(()) => return Ok(true),
                    Err(error) => error,
                },
            };
            let late = Instant::now() + ASK_AGAIN >= deadline;
            if error.kind() == ErrorKind::Config || late {
                return Err(Error::new(error.kind(), format!("the sink {} cannot be used", self.to))
                    .with_source(error));
            }
            if !std::mem::replace(&mut said, true) {
                let scope = self.scope.name();
                tracing::warn!(target: "ackonce", scope, sink = %self.to, error = %ackonce::chain(&error), "the sink is away; waiting for it");
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return Ok(false),
                () = tokio::time::sleep(ASK_AGAIN) => {}
            }
        }
    }

    /// Ready if the source has not been there by the deadline; never once it was.
    async fn source_is_late(&self, deadline: Instant, was_ready: &AtomicBool) -> Error {
        // Readiness is a sum of several facts without an event of its own, and this runs at the start alone.
        while !self.health.is_ready() {
            if Instant::now() >= deadline && self.settings.on_start != OnStart::End {
                let limit = self.start_timeout();
                let text = format!(
                    "the source {} was not there within {limit:?} (RelayOptions::start_timeout): {}",
                    self.from,
                    self.health.details()
                );
                return Error::new(ErrorKind::Unavailable, text);
            }
            tokio::time::sleep(LOOK).await;
        }
        was_ready.store(true, Ordering::Relaxed);
        std::future::pending().await
    }
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const DEFAULT_START: Duration = Duration::from_secs(60);
/// As good as for ever, and no more than the clock can represent.
const LONGEST_START: Duration = Duration::from_secs(365 * 24 * 3600);
/// Kept between the sink's own limit and that of the runner, so that the sink's reason is the one that is told.
const BETWEEN: Duration = Duration::from_secs(60);

fn refuse<T>(text: impl Into<String>) -> Result<T> {
    Err(Error::new(ErrorKind::Config, text.into()))
}

fn class(to: &SinkUrl, chosen: Option<Class>) -> Result<Class> {
    match (chosen, to.carries_key()) {
        (None, true) | (Some(Class::Keyed), true) => Ok(Class::Keyed),
        (None | Some(Class::Leased), _) => Ok(Class::Leased),
        (Some(Class::Keyed), false) => refuse(format!(
            "RelayOptions::class is keyed, and {to} carries no idempotency key by which a repetition could be told; choose leased"
        )),
        (Some(class), _) => refuse(format!("RelayOptions::class is {class}; a relay is leased or keyed")),
    }
}

/// RelayOptions that this source cannot honour.
fn suits(from: &SourceUrl, options: &RelayOptions) -> Result<()> {
    let kind = from.kind();
    if kind == SourceKind::Webhook {
        if options.dead_letter.is_some() {
            return refuse(
                "RelayOptions::dead_letter: a webhook has no dead-letter place, because its provider keeps the event; leave it out",
            );
        }
        if !matches!(options.order, None | Some(Order::Unordered)) {
            return refuse("RelayOptions::order: a provider sends its webhooks in no order; choose none");
        }
    }
    if kind != SourceKind::Kafka && !options.retry_topics.is_empty() {
        return refuse("RelayOptions::retry_topics are topics of Kafka; this source has none");
    }
    if options.timeout.is_some_and(|limit| limit.is_zero()) {
        return refuse("RelayOptions::timeout is zero: no sink answers in no time");
    }
    Ok(())
}

fn ids(from: &SourceUrl, places: &[IdPlace]) -> Result<Option<MessageIds>> {
    let sources = places.iter().map(|place| {
        place
            .of(from.kind())
            .map_err(|why| Error::new(ErrorKind::Config, format!("RelayOptions::ids has {place}: {why}")))
    });
    let sources = sources.collect::<Result<Vec<_>>>()?;
    Ok((!sources.is_empty()).then(|| MessageIds::first_of(sources)))
}

fn settings(mut settings: Settings, options: &RelayOptions) -> Settings {
    macro_rules! set {
        ($($name:ident),*) => {$(
            if let Some(value) = options.$name {
                settings.$name = value;
            }
        )*};
    }
    set!(lease, window, attempts, backoff, concurrency, shutdown_timeout);
    let limit = options.timeout.unwrap_or(DEFAULT_TIMEOUT);
    settings.handler_timeout = settings.handler_timeout.max(limit.saturating_add(BETWEEN));
    settings.on_start = match options.start_timeout {
        Some(Duration::ZERO) => OnStart::End,
        _ => OnStart::EndIfRefused,
    };
    settings
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use ackonce::MemoryStore;

    use super::*;

    fn relay(from: &str, to: &str, options: RelayOptions) -> Result<Relay> {
        let scope = Scope::new("s").unwrap();
        Relay::new(from.parse().unwrap(), to.parse().unwrap(), &scope, Arc::new(MemoryStore::new()), options)
    }

    const KAFKA: &str = "kafka://h:1/t?group=g";
    const AMQP: &str = "amqp://h/v?queue=q";

    #[test]
    fn a_relay_into_its_own_source_is_refused() {
        for (from, to) in [
            (KAFKA, "kafka://H:1/t"),
            ("kafka://a,b/t,u?group=g", "kafka://b:9092/u"),
            (AMQP, "amqp://other:user@h:5672/v?routing-key=q"),
        ] {
            let why = relay(from, to, RelayOptions::default()).unwrap_err().to_string();
            assert!(why.contains("own source"), "{from} {to}: {why}");
        }
        for (from, to) in [
            (KAFKA, "kafka://h:1/u"),
            (KAFKA, "kafka://elsewhere:1/t"),
            (AMQP, "amqp://h/v?exchange=e&routing-key=q"),
            (AMQP, "amqp://h/w?routing-key=q"),
        ] {
            relay(from, to, RelayOptions::default()).unwrap();
        }
    }

    #[test]
    fn options_that_a_source_or_sink_cannot_honour_are_refused_by_name() {
        let ids = |place: &str| RelayOptions { ids: vec![place.parse().unwrap()], ..RelayOptions::default() };
        let class = |class| RelayOptions { class: Some(class), ..RelayOptions::default() };
        let retries = RelayOptions {
            retry_topics: vec![("a".into(), Duration::from_secs(1))],
            ..RelayOptions::default()
        };
        for (from, to, options, name) in [
            (KAFKA, "http://h", ids("property"), "RelayOptions::ids"),
            (KAFKA, "stdout:", class(Class::Keyed), "RelayOptions::class"),
            (KAFKA, "http://h", class(Class::Inbox), "RelayOptions::class"),
            (AMQP, "http://h", retries, "RelayOptions::retry_topics"),
            (
                AMQP,
                "http://h",
                RelayOptions { timeout: Some(Duration::ZERO), ..RelayOptions::default() },
                "RelayOptions::timeout",
            ),
            (
                AMQP,
                "http://h",
                RelayOptions { attempts: Some(0), ..RelayOptions::default() },
                "Settings::attempts",
            ),
        ] {
            let error = relay(from, to, options).unwrap_err();
            assert!(error.kind() == ErrorKind::Config && error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn the_class_follows_from_the_sink_unless_it_is_said() {
        let class =
            |to, class| relay(KAFKA, to, RelayOptions { class, ..RelayOptions::default() }).unwrap().class();
        assert_eq!(class("http://h", None), Class::Keyed);
        assert_eq!(class("http://h", Some(Class::Leased)), Class::Leased);
        assert_eq!(class("stdout:", None), Class::Leased);
    }

    #[test]
    fn everything_that_weakens_the_promise_is_said() {
        let options = RelayOptions { ids: vec![IdPlace::Payload, IdPlace::Key], ..RelayOptions::default() };
        let said = relay(KAFKA, "stdout:", options).unwrap().weaknesses().join("\n");
        for part in ["class leased", "id payload", "id key", "dead-letter", "restart"] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
}
