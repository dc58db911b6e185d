//! An endpoint before it is built: provider, scope, store, and their options.

use std::sync::Arc;
use std::time::Duration;

use ackonce::adapter::{Graveyard, RecordOnly};
use ackonce::{Class, Deduplicator, Handler, OnFailure, OnMismatch, Runner, Scope, Settings};
use ackonce_http::body::{Budget, Limits};
use ackonce_http::edge::Edge;

use crate::endpoint::{Arrival, Calls, Endpoint, Keep, Metrics, OfHandler};
use crate::error::ConfigError;
use crate::event::Event;
use crate::layer::WebhookLayer;
use crate::provider::{MIB, Provider, Terms};
use crate::record::{Fingerprints, record_scope};
use crate::service::WebhookService;

/// An endpoint for one provider's webhooks, before it is built: [`layer`](Self::layer) puts it in front of a tower
/// service, [`handle`](Self::handle) makes it a service of a handler of any [`Class`].
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use ackonce::{MemoryStore, Scope};
/// use ackonce_webhook::{Stripe, Webhook};
/// # tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(async {
/// let stripe = Stripe::new([std::env::var("STRIPE_SECRET").unwrap_or("whsec_test".into())])?;
/// let layer = Webhook::new(stripe, &Scope::new("billing/stripe")?, Arc::new(MemoryStore::new()))
///     .with_settings(|settings| settings.with_lease(Duration::from_secs(60)))
///     .layer()?;
/// # Ok::<(), Box<dyn std::error::Error>>(()) }).unwrap();
/// ```
#[must_use = "an endpoint is built by layer or handle"]
pub struct Webhook {
    provider: Arc<dyn Provider>,
    scope: Scope,
    store: Arc<dyn Deduplicator>,
    settings: Settings,
    limits: Limits,
    body_budget: Option<usize>,
    kept_answer: usize,
    fingerprints: Fingerprints,
    graveyard: Arc<dyn Graveyard<Arrival>>,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook")
            .field("provider", &self.provider)
            .field("scope", &self.scope)
            .field("store", &self.store)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

impl Webhook {
    /// Webhooks of this provider, remembered in this store. The scope is who must not act twice:
    /// `billing/stripe`; the provider's name and its accounts and hooks stand beside it ([`record_scope`]).
    ///
    /// The settings begin as [`Settings::default`] but for these, which suit a sender who waits and comes again: a
    /// delivery that somebody else holds is answered at once (`busy_timeout` 0), a store that does not answer after a third of
    /// the provider's time limit (`store_timeout`, 5 s at most), failures and mismatches are handed back, the window is
    /// at least the provider's retry horizon, 100 attempts (the provider's ladder ends first; each can wait for the
    /// next rung), 512 deliveries at once (`concurrency`; more are answered 503).
    pub fn new(provider: impl Provider, scope: &Scope, store: Arc<dyn Deduplicator>) -> Self {
        let terms = provider.terms();
        let (least, _) = least_window(&terms);
        let defaults = Settings::default();
        let window = defaults.window.max(least);
        let settings = defaults
            .with_busy_timeout(Duration::ZERO)
            .with_store_timeout((terms.answer_within / 3).min(Duration::from_secs(5)))
            .with_on_failure(OnFailure::HandBack)
            .with_on_mismatch(OnMismatch::HandBack)
            .with_window(window)
            .with_attempts(100)
            .with_concurrency(512);
        Self {
            provider: Arc::new(provider),
            scope: scope.clone(),
            store,
            settings,
            limits: Limits { max_len: terms.max_body, ..Limits::default() },
            body_budget: None,
            kept_answer: terms.kept_answer,
            fingerprints: Fingerprints::default(),
            // A choice, not a lack: the sender has the event, and is told of its fate.
            graveyard: Arc::new(RecordOnly),
        }
    }

    /// The provider's terms.
    #[must_use]
    pub fn terms(&self) -> Terms {
        self.provider.terms()
    }

    /// The same with settings changed from those that [`new`](Self::new) begins with.
    pub fn with_settings(mut self, change: impl FnOnce(Settings) -> Settings) -> Self {
        self.settings = change(self.settings);
        self
    }

    /// The same with other bounds of a request's body; default the provider's largest ([`Terms::max_body`]), arrived
    /// within 30 s.
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The same with another budget in bytes for the bodies of all requests at once, from their arrival until their
    /// events are settled; default 64 MiB, or the longest body if that is more. The first 16 KiB of each body are
    /// not counted: a server holds as much for each connection anyway. A body that finds no room waits for as long as
    /// [`Settings::store_timeout`], and its request is then answered 503 with `Retry-After`.
    pub fn with_body_budget(mut self, bytes: usize) -> Self {
        self.body_budget = Some(bytes);
        self
    }

    /// The same with another limit in bytes on the part of a service's answer that is kept and given to a repeat; 0 keeps
    /// nothing, and a repeat gets an empty 200. Default [`Terms::kept_answer`]: 64 KiB for providers to whom the answer
    /// is the effect, 0 for others. A longer answer, or one that takes longer than the provider waits, is not kept.
    pub fn with_kept_answer(mut self, bytes: usize) -> Self {
        self.kept_answer = bytes;
        self
    }

    /// The same, noticing changed bodies otherwise.
    pub fn with_fingerprints(mut self, fingerprints: Fingerprints) -> Self {
        self.fingerprints = fingerprints;
        self
    }

    /// The same with a dead-letter place for events that will never succeed; default the store's record and the
    /// log.
    pub fn with_graveyard(mut self, graveyard: Arc<dyn Graveyard<Arrival>>) -> Self {
        self.graveyard = graveyard;
        self
    }

    /// A layer that puts this endpoint in front of services, which are then the handlers: class
    /// [`Leased`](Class::Leased).
    ///
    /// # Errors
    /// [`ConfigError`]: a window shorter than the provider's retries or than twice its tolerance, and the settings that the core
    /// refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn layer(self) -> Result<WebhookLayer, ConfigError> {
        Ok(WebhookLayer::of(self.build(Class::Leased)?))
    }

    /// A service that runs a handler, whose type chooses the class: a closure, [`Keyed`](ackonce::Keyed), an inbox of
    /// an SQL store, a [`Background`](crate::Background).
    ///
    /// # Errors
    /// As [`layer`](Self::layer).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn handle(self, handler: impl Handler<Event>) -> Result<WebhookService, ConfigError> {
        let kinds = self.settings.failure_kinds.clone();
        let endpoint = self.build(handler.class())?;
        Ok(WebhookService::new(Arc::new(endpoint), Arc::new(OfHandler { handler, kinds })))
    }

    /// Looks at the settings, as [`layer`](Self::layer) and [`handle`](Self::handle) do.
    ///
    /// # Errors
    /// As there.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.settings.check()?;
        self.provider.check()?;
        check(&self.settings, &self.provider.terms())?;
        self.budget().map(drop)
    }

    fn build(self, class: Class) -> Result<Endpoint, ConfigError> {
        self.check()?;
        let terms = self.provider.terms();
        let budget = self.budget()?;
        record_scope(&self.scope, self.provider.name(), [""; 0]).map_err(|error| {
            ConfigError::setting(
                "Provider::name",
                format!("it is too long for the scope of a record: {error}"),
            )
        })?;
        let most = self.settings.concurrency;
        let keep = Keep { max: self.kept_answer, wait: terms.answer_within, window: self.settings.window };
        let runner = Runner::with(self.store, &self.scope, Calls(class), self.settings, self.graveyard)?;
        runner.announce();
        Ok(Endpoint {
            metrics: Metrics::new(self.scope.name(), self.provider.name()),
            terms,
            provider: self.provider,
            scope: self.scope,
            limits: self.limits,
            budget,
            keep,
            fingerprints: self.fingerprints,
            edge: Edge::new(runner, most),
        })
    }
}

impl Webhook {
    fn budget(&self) -> Result<Budget, ConfigError> {
        let longest = self.limits.max_len;
        let bytes = self.body_budget.unwrap_or(longest.max(DEFAULT_BUDGET));
        if bytes < longest {
            let why = format!("it is {bytes} bytes, and one body may have {longest} (Webhook::with_limits)");
            return Err(ConfigError::setting("Webhook::with_body_budget", why));
        }
        Ok(Budget::new(bytes).with_wait(self.settings.store_timeout))
    }
}

impl WebhookLayer {
    /// A layer with the settings that [`Webhook::new`] begins with.
    ///
    /// # Errors
    /// As [`Webhook::layer`].
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn new(
        provider: impl Provider,
        scope: &Scope,
        store: Arc<dyn Deduplicator>,
    ) -> Result<Self, ConfigError> {
        Webhook::new(provider, scope, store).layer()
    }
}

/// The memory for the bodies of one endpoint, where its longest body does not need more.
const DEFAULT_BUDGET: usize = 64 * MIB;

/// The shortest window that keeps the promise, and why.
fn least_window(terms: &Terms) -> (Duration, &'static str) {
    // A signature may come that far ahead of its time, and be sent again until it is that far behind.
    let replays = terms.tolerance.unwrap_or_default().saturating_mul(2);
    if replays > terms.retries {
        (replays, "twice the tolerance: for that long the same signature is accepted")
    } else {
        (terms.retries, "the time for which the provider may send the same event again")
    }
}

fn check(settings: &Settings, terms: &Terms) -> Result<(), ConfigError> {
    let (at_least, why) = least_window(terms);
    if settings.window < at_least {
        return Err(ConfigError::ShortWindow { window: settings.window, at_least, why: why.into() });
    }
    if settings.busy_timeout > terms.answer_within {
        let why = format!("it is over the {:?} that the provider waits for an answer", terms.answer_within);
        return Err(ConfigError::setting("Settings::busy_timeout", why));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use ackonce::MemoryStore;

    use super::*;
    use crate::{Adyen, GitHub, StandardWebhooks};

    fn days(n: u64) -> Duration {
        Duration::from_secs(n * 24 * 3600)
    }

    fn webhook(provider: impl Provider) -> Webhook {
        Webhook::new(provider, &Scope::new("s").unwrap(), Arc::new(MemoryStore::new()))
    }

    fn refused(webhook: Webhook) -> String {
        webhook.layer().unwrap_err().to_string()
    }

    #[tokio::test]
    async fn a_window_that_would_forget_too_early_is_refused_by_name() {
        let adyen = || webhook(Adyen::new(["00ff"]).unwrap());
        assert_eq!(adyen().settings.window, days(30), "the default follows the provider");
        let short = adyen().with_settings(|settings| settings.with_window(days(29)));
        assert!(refused(short).starts_with("Settings::window is 2505600s; it must be at least 2592000s"));
        let tolerant = || {
            let standard = StandardWebhooks::new(["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]).unwrap();
            webhook(standard.with_tolerance(days(5)))
        };
        assert!(tolerant().layer().is_ok());
        let short = tolerant().with_settings(|settings| settings.with_window(days(9)));
        assert!(
            refused(short).ends_with("twice the tolerance: for that long the same signature is accepted")
        );
    }

    #[tokio::test]
    async fn a_wait_longer_than_the_providers_is_refused_by_name() {
        let github = webhook(GitHub::new(["s"]).unwrap());
        let patient = github.with_settings(|settings| settings.with_busy_timeout(Duration::from_secs(11)));
        assert!(refused(patient).starts_with("Settings::busy_timeout: it is over the 10s"));
    }
}
