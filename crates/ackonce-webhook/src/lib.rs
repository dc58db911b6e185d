#![doc = include_str!("../README.md")]

mod answer;
mod arrival;
mod background;
mod budget;
mod endpoint;
mod error;
mod event;
mod filing;
mod handshake;
mod layer;
mod mac;
mod meters;
mod provider;
mod providers;
mod run;
mod scheme;
mod secret;
mod template;
mod webhook;

pub use arrival::Arrival;
pub use background::Background;
pub use error::{ConfigError, Refused};
pub use event::{Event, IdBound};
pub use filing::Filing;
pub use handshake::{Handshake, Place, ReplyValue};
pub use layer::{WebhookBody, WebhookLayer, WebhookService};
pub use mac::{Algorithm, Encoding};
pub use meters::METRICS;
pub use provider::{Incoming, Provider, Terms, Verified};
pub use providers::{
    Adyen, Custom, GitHub, Identity, Paddle, Shopify, ShopifyId, Slack, Square, StandardWebhooks, Stripe,
    Svix, Twilio,
};
pub use run::Permanent;
pub use secret::Secret;
pub use webhook::{Fingerprints, Webhook};

/// Limits on a request's body; from `ackonce-http`.
pub use ackonce_http::body::Limits;
