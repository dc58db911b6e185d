#![doc = include_str!("../README.md")]

mod background;
mod endpoint;
mod error;
mod event;
mod layer;
mod provider;
mod providers;
mod record;
mod request;
mod service;
mod signature;
mod webhook;

pub use background::Background;
pub use endpoint::{Arrival, METRICS, Permanent, WebhookBody};
pub use error::{ConfigError, VerifyError};
pub use event::{Event, IdBound};
pub use layer::WebhookLayer;
pub use provider::{Provider, Terms, Verified};
pub use providers::{
    Adyen, Custom, Field, GitHub, Handshake, Identity, Paddle, ReplyValue, Shopify, ShopifyId, Slack, Square,
    StandardWebhooks, Stripe, Svix, Twilio,
};
pub use record::{Fingerprints, record_scope};
pub use request::RawRequest;
pub use service::WebhookService;
pub use signature::{Algorithm, Encoding, Secret};
pub use webhook::Webhook;

/// Limits on a request's body; from `ackonce-http`.
pub use ackonce_http::body::Limits;
