#![doc = include_str!("../README.md")]

mod check;
mod config;
mod connection;
mod error;
mod inspect;
mod records;
mod request;
mod store;

/// The policy for an unsafe server, which the stores share.
pub use ackonce::store::OnUnsafe;
pub use config::{RedisConfig, Replicas};
pub use request::MAX_VALUE_LEN;
pub use store::RedisStore;
