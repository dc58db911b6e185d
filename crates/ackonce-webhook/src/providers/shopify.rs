//! Shopify: <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>, <https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates>.

use std::time::Duration;

use crate::event::IdBound;
use crate::mac::{Algorithm, Encoding, as_is, keys};
use crate::provider::HOUR;
use crate::scheme::{Scheme, header};
use crate::secret::checked;
use crate::{ConfigError, Event, Identity, Incoming, Provider, Refused, Secret, Terms, Verified};

use super::{digest, name, option, present};

/// Shopify: `X-Shopify-Hmac-Sha256`. No time is signed, and no ID ([`Identity`]).
#[derive(Debug, Clone)]
pub struct Shopify {
    scheme: Scheme,
    id: ShopifyId,
    identity: Identity,
}

/// Which of Shopify's two IDs identifies an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShopifyId {
    /// `X-Shopify-Webhook-Id`: one delivery to one subscription and its retries.
    #[default]
    Webhook,
    /// `X-Shopify-Event-Id`, within the topic: what the merchant did, once, however many subscriptions of a topic
    /// bring it here.
    Event,
}

impl Shopify {
    /// With these client secrets of the app; any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is empty.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let keys = keys(Algorithm::HmacSha256, &checked(secrets)?, as_is)?;
        let scheme = Scheme::new(name("x-shopify-hmac-sha256"), "", Encoding::Base64, keys);
        Ok(Self { scheme, id: ShopifyId::default(), identity: Identity::default() })
    }

    option!(identity);

    /// The same by another of its IDs.
    #[must_use]
    pub fn with_id(mut self, id: ShopifyId) -> Self {
        self.id = id;
        self
    }
}

impl Provider for Shopify {
    fn name(&self) -> &str {
        "shopify"
    }

    fn terms(&self) -> Terms {
        Terms::new(4 * HOUR, Duration::from_secs(5))
    }

    fn verify(&self, request: &Incoming<'_>) -> Result<Verified, Refused> {
        let proof = self.scheme.verify(request)?;
        let read = |text: &'static str| header(request.headers, &name(text)).map(|v| v.map(str::to_owned));
        let topic = read("x-shopify-topic")?;
        let unsigned = |id: String| Event::new(id, request.body.clone()).bound(IdBound::Unsigned);
        let mut event = match (self.identity, self.id) {
            (Identity::Signed, _) => Event::new(digest(&[request.body]), request.body.clone()),
            (_, ShopifyId::Webhook) => {
                unsigned(present(read("x-shopify-webhook-id")?, "x-shopify-webhook-id")?)
            }
            (_, ShopifyId::Event) => {
                let topic = present(topic.clone(), "x-shopify-topic")?;
                unsigned(present(read("x-shopify-event-id")?, "x-shopify-event-id")?).within(topic)
            }
        };
        if let Some(topic) = topic {
            event = event.of_kind(topic);
        }
        Ok(Verified::Events(vec![event.proved(&proof)]))
    }
}
