//! Shopify: <https://shopify.dev/docs/apps/build/webhooks/subscribe/https>, <https://shopify.dev/docs/apps/build/webhooks/ignore-duplicates>.

use std::time::Duration;

use crate::event::IdBound;
use crate::provider::{HOUR, MIB};
use crate::signature::{Algorithm, Encoding, Scheme, as_is, checked, header, keys};
use crate::{ConfigError, Event, Identity, Provider, RawRequest, Secret, Terms, Verified, VerifyError};

use super::{digest, name, option, present};

/// Shopify: `X-Shopify-Hmac-Sha256`, or `shopify-hmac-sha256` of its newer Events webhooks, with the other headers of the
/// same family. No time is signed, and no ID ([`Identity`]).
///
/// A body has up to 16 MiB: Shopify names no cap, and a product with all its variants takes several.
///
/// ```
/// use ackonce_webhook::{Shopify, ShopifyId};
/// // One change that two subscriptions report takes effect once for each topic.
/// let shopify = Shopify::new(["client secret of the app"])?.with_id(ShopifyId::Event);
/// # Ok::<(), ackonce_webhook::ConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Shopify {
    families: [Family; 2],
    id: ShopifyId,
    identity: Identity,
}

/// The headers of one generation of webhooks.
#[derive(Debug, Clone)]
struct Family {
    scheme: Scheme,
    webhook_id: &'static str,
    event_id: &'static str,
    topic: &'static str,
}

/// Which of Shopify's two IDs identifies an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ShopifyId {
    /// `X-Shopify-Webhook-Id`, `shopify-webhook-id`: one delivery to one subscription and its retries.
    #[default]
    Webhook,
    /// `X-Shopify-Event-Id`, within the topic: one action of the merchant, however many subscriptions of a topic
    /// bring it here. Events webhooks do not send it; they are then identified by the other.
    Event,
}

impl Shopify {
    /// With these client secrets of the app; any of them may match.
    ///
    /// # Errors
    /// [`ConfigError`]: there is none, or one is empty.
    pub fn new(secrets: impl IntoIterator<Item = impl Into<Secret>>) -> Result<Self, ConfigError> {
        let keys = keys(Algorithm::HmacSha256, &checked(secrets)?, as_is)?;
        let scheme = |header| Scheme::new(name(header), "", Encoding::Base64, keys.clone());
        let events = Family {
            scheme: scheme("shopify-hmac-sha256"),
            webhook_id: "shopify-webhook-id",
            event_id: "shopify-event-id",
            topic: "shopify-topic",
        };
        let classic = Family {
            scheme: scheme("x-shopify-hmac-sha256"),
            webhook_id: "x-shopify-webhook-id",
            event_id: "x-shopify-event-id",
            topic: "x-shopify-topic",
        };
        Ok(Self { families: [events, classic], id: ShopifyId::default(), identity: Identity::default() })
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
        Terms::new(4 * HOUR, Duration::from_secs(5)).with_max_body(16 * MIB)
    }

    fn verify(&self, request: &RawRequest<'_>) -> Result<Verified, VerifyError> {
        // One family or the other, never a mixture; the newer one first, as in Shopify's own libraries.
        let [events, classic] = &self.families;
        let family = match request.headers.contains_key(&events.scheme.header) {
            true => events,
            false => classic,
        };
        let proof = family.scheme.verify(request)?;
        let read = |text: &'static str| header(request.headers, &name(text)).map(|v| v.map(str::to_owned));
        let topic = read(family.topic)?;
        let unsigned = |id: String| Event::new(id, request.body.clone()).bound(IdBound::Unsigned);
        let event_id = match self.id {
            ShopifyId::Webhook => None,
            ShopifyId::Event => read(family.event_id)?,
        };
        let mut event = match (self.identity, event_id) {
            (Identity::Signed, _) => Event::new(digest(&[request.body]), request.body.clone()),
            (Identity::Header, Some(id)) => {
                let topic = present(topic.clone(), family.topic)?;
                unsigned(present(Some(id), family.event_id)?).within(topic)
            }
            (Identity::Header, None) => unsigned(present(read(family.webhook_id)?, family.webhook_id)?),
        };
        if let Some(topic) = topic {
            event = event.of_kind(topic);
        }
        Ok(Verified::Events(vec![event.proved(&proof)]))
    }
}
