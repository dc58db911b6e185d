//! `webhook://HOST:PORT/PATH?provider=NAME&secret-env=NAME`.

use std::env::VarError;
use std::sync::Arc;

use ackonce::{Counts, Error, ErrorKind, MemoryStore, Result, Scope, Settings};
use ackonce_webhook::{
    Adyen, ConfigError, GitHub, Paddle, Shopify, Slack, Square, StandardWebhooks, Stripe, Svix, Twilio,
    Webhook,
};
use tokio::net::TcpListener;

use super::server;
use super::survey::{self, WebhookSecret, WebhookSurvey};
use crate::deliver::Deliver;
use crate::health::RelayHealth;
use crate::plan::Plan;
use crate::url::{Parts, RelayUrlError};

/// The names of the providers.
const PROVIDERS: [&str; 10] =
    ["adyen", "github", "paddle", "shopify", "slack", "square", "standard", "stripe", "svix", "twilio"];
/// Those whose signatures cover the public address of the endpoint.
const WITH_ADDRESS: [&str; 2] = ["square", "twilio"];
/// A secret of a form that every provider takes, for questions that do not depend on it.
const STAND_IN: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// An endpoint for the webhooks of one provider.
#[derive(Clone)]
pub(super) struct WebhookSource {
    address: String,
    path: String,
    provider: String,
    /// Names of environment variables.
    secrets: Vec<String>,
    url: Option<String>,
}

impl WebhookSource {
    pub(super) fn parse(text: &str) -> Result<Self, RelayUrlError> {
        let mut parts = Parts::of(text)?;
        let provider = parts.take("provider")?;
        let known = PROVIDERS.join(", ");
        let provider = provider.ok_or_else(|| {
            RelayUrlError::new(format!("it names no provider; add ?provider=NAME, one of {known}"))
        })?;
        if !PROVIDERS.contains(&provider.as_str()) {
            return Err(RelayUrlError::new(format!("there is no provider `{provider}`; there are {known}")));
        }
        let secrets = parts.take_all("secret-env");
        if secrets.is_empty() {
            let why = "it names no secret; add secret-env=NAME, the environment variable that holds it";
            return Err(RelayUrlError::new(why));
        }
        let url = parts.take("url")?;
        if WITH_ADDRESS.contains(&provider.as_str()) && url.is_none() {
            let why = format!("{provider} signs the address that it calls; add url=PUBLIC-URL");
            return Err(RelayUrlError::new(why));
        }
        let port = parts.hosts.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() || parts.user.is_some() || parts.hosts.contains(',') {
            return Err(RelayUrlError::new(
                "it has to listen at one HOST:PORT, such as webhook://127.0.0.1:8080/stripe",
            ));
        }
        parts.nothing_more("provider, secret-env and url")?;
        Ok(Self { address: parts.hosts.into(), path: format!("/{}", parts.path), provider, secrets, url })
    }

    pub(super) fn name(&self) -> String {
        format!("{}{}", self.provider, self.path)
    }

    /// The settings that an endpoint of this provider begins with, whatever its secrets.
    pub(super) fn defaults(&self) -> Result<Settings> {
        let mut defaults = Settings::default();
        let noted = |settings: Settings| {
            defaults = settings.clone();
            settings
        };
        let _ = self.probe(STAND_IN.to_owned())?.with_settings(noted);
        Ok(defaults)
    }

    /// Refuses secrets that are missing or cannot be the provider's, and settings against its schedule.
    pub(super) fn check(&self, plan: Plan) -> Result<()> {
        for variable in &self.secrets {
            // Alone, so that the fault is that of this variable.
            self.probe(secret(variable)?).map(drop).map_err(|error| {
                let text = format!("the environment variable {variable}, which secret-env names");
                Error::new(ErrorKind::Config, text).with_source(error)
            })?;
        }
        let webhook = self.webhook(self.secrets()?, &plan.scope, plan.store)?;
        webhook.with_settings(|_| plan.settings).check().map_err(refused)
    }

    /// An endpoint with this secret that nobody calls.
    fn probe(&self, secret: String) -> Result<Webhook> {
        let scope = Scope::new("relay").map_err(|e| Error::new(ErrorKind::Config, e.to_string()))?;
        self.webhook(vec![secret], &scope, Arc::new(MemoryStore::new()))
    }

    /// Its facts, for those who judge it before it runs: no request is taken.
    pub(super) async fn survey(&self) -> Result<WebhookSurvey> {
        let terms = self.probe(STAND_IN.to_owned())?.terms();
        let secrets = self.secrets.iter().map(|variable| {
            let (bytes, fault) = match secret(variable) {
                Ok(secret) => (secret.len(), self.probe(secret).err()),
                Err(error) => (0, Some(error)),
            };
            let fault = fault.map(|error| ackonce::chain(&error).to_string());
            WebhookSecret::new(variable, bytes, fault)
        });
        let secrets = secrets.collect();
        let (provider, address) = (self.provider.clone(), self.address.clone());
        let unbound = survey::unbound(&address).await;
        Ok(WebhookSurvey { provider, terms, secrets, address, unbound })
    }

    pub(super) async fn run(&self, plan: Plan, deliver: Deliver, health: &RelayHealth) -> Result<Counts> {
        let settings = plan.settings;
        let wait = settings.shutdown_timeout;
        let webhook = self.webhook(self.secrets()?, &plan.scope, plan.store)?.with_settings(|_| settings);
        let service = webhook.handle(deliver).map_err(refused)?;
        let listener = TcpListener::bind(&self.address).await.map_err(|error| {
            let text = format!("webhook://{} cannot be listened at", self.address);
            Error::new(ErrorKind::Unavailable, text).with_source(error)
        })?;
        let address = listener.local_addr().map(|a| a.to_string()).unwrap_or_else(|_| self.address.clone());
        tracing::info!(target: "ackonce", scope = plan.scope.name(), address, path = self.path, provider = self.provider,
            "listening for webhooks");
        health.is_webhook(true);
        server::serve(listener, &self.path, service.clone(), plan.shutdown, wait).await;
        health.is_webhook(false);
        Ok(service.counts())
    }

    fn webhook(
        &self,
        secrets: Vec<String>,
        scope: &Scope,
        store: Arc<dyn ackonce::Deduplicator>,
    ) -> Result<Webhook> {
        let url = self.url.clone().unwrap_or_default();
        // The presets have no other setting.
        let refused = |error| match error {
            ConfigError::Setting { why, .. } => {
                Error::new(ErrorKind::Config, format!("its option `url`: {why}"))
            }
            error => refused(error),
        };
        macro_rules! webhook {
            ($($name:literal => $provider:expr),*) => {
                match self.provider.as_str() {
                    $($name => Webhook::new($provider.map_err(refused)?, scope, store),)*
                    other => return Err(Error::new(ErrorKind::Config, format!("there is no provider {other}"))),
                }
            };
        }
        Ok(webhook!(
            "adyen" => Adyen::new(secrets),
            "github" => GitHub::new(secrets),
            "paddle" => Paddle::new(secrets),
            "shopify" => Shopify::new(secrets),
            "slack" => Slack::new(secrets),
            "square" => Square::new(secrets, url),
            "standard" => StandardWebhooks::new(secrets),
            "stripe" => Stripe::new(secrets),
            "svix" => Svix::new(secrets),
            "twilio" => Twilio::new(secrets, url)
        ))
    }

    fn secrets(&self) -> Result<Vec<String>> {
        self.secrets.iter().map(|variable| secret(variable)).collect()
    }
}

fn secret(variable: &str) -> Result<String> {
    std::env::var(variable).map_err(|error| {
        let why = match error {
            VarError::NotPresent => "is not set",
            VarError::NotUnicode(_) => "is not text",
        };
        Error::new(
            ErrorKind::Config,
            format!("the environment variable {variable}, which secret-env names, {why}"),
        )
    })
}

fn refused(error: ConfigError) -> Error {
    Error::new(ErrorKind::Config, "the webhook endpoint").with_source(error)
}
