#![doc = include_str!("../README.md")]

mod error;
mod event;
mod mac;
mod provider;
mod providers;
mod scheme;
mod secret;
mod template;

pub use error::{ConfigError, Refused};
pub use event::{Event, IdBound};
pub use mac::{Algorithm, Encoding};
pub use provider::{Incoming, Provider, Terms, Verified};
pub use providers::{
    Adyen, Custom, GitHub, Identity, Paddle, Shopify, ShopifyId, Slack, Square, StandardWebhooks, Stripe,
    Svix, Twilio,
};
pub use secret::Secret;
