#![doc = include_str!("../README.md")]

mod address;
mod batch;
mod check;
#[cfg(feature = "cluster")]
mod cluster;
mod config;
mod connection;
mod error;
mod inspect;
mod io;
mod link;
mod names;
mod refusal;
mod reply;
mod requests;
mod rights;
mod row;
mod script;
mod store;
mod walk;

/// The policy for an unsafe server, which the stores share.
pub use ackonce::store::OnUnsafe;
pub use config::{RedisConfig, Replicas};
pub use store::{MAX_VALUE_LEN, RedisStore};
