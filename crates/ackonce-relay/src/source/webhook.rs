//! `webhook://HOST:PORT/PATH?provider=NAME&secret-env=NAME`.

use std::sync::Arc;

use ackonce::{Counts, Error, ErrorKind, MemoryStore, Result, Scope, Settings};
use ackonce_webhook::{
    Adyen, ConfigError, GitHub, Paddle, Shopify, Slack, Square, StandardWebhooks, Stripe, Svix, Twilio,
    Webhook,
};
use tokio::net::TcpListener;

use super::server;
use crate::deliver::Deliver;
use crate::health::RelayHealth;
use crate::plan::Plan;
use crate::url::{Parts, RelayUrlError};

/// The names of the providers.
const PROVIDERS: [&str; 10] =
    ["adyen", "github", "paddle", "shopify", "slack", "square", "standard", "stripe", "svix", "twilio"];
/// Those whose signatures cover the public address of the endpoint.
const WITH_ADDRESS: [&str; 2] = ["square", "twilio"];

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

    /// The settings that an endpoint of this provider begins with.
    pub(super) fn defaults(&self) -> Result<Settings> {
        let mut defaults = Settings::default();
        let scope = Scope::new("relay").map_err(|e| Error::new(ErrorKind::Config, e.to_string()))?;
        let noted = |settings: Settings| {
            defaults = settings.clone();
            settings
        };
        let _ = self.webhook(&scope, Arc::new(MemoryStore::new()))?.with_settings(noted);
        Ok(defaults)
    }

    pub(super) async fn run(&self, plan: Plan, deliver: Deliver, health: &RelayHealth) -> Result<Counts> {
        let settings = plan.settings;
        let wait = settings.shutdown_timeout;
        let webhook = self.webhook(&plan.scope, plan.store)?.with_settings(|_| settings);
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

    fn webhook(&self, scope: &Scope, store: Arc<dyn ackonce::Deduplicator>) -> Result<Webhook> {
        let secrets = self.secrets()?;
        let url = self.url.clone().unwrap_or_default();
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
        let each = self.secrets.iter().map(|name| {
            std::env::var(name).map_err(|_| {
                let text =
                    format!("the environment variable {name}, which secret-env names, is not set to text");
                Error::new(ErrorKind::Config, text)
            })
        });
        each.collect()
    }
}

fn refused(error: ConfigError) -> Error {
    Error::new(ErrorKind::Config, "the webhook endpoint").with_source(error)
}
