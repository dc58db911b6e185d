#![doc = include_str!("../README.md")]

mod check;
mod config;
mod connection;
mod error;
mod inspect;
mod records;
mod request;
mod store;
mod survey;

/// The policy for an unsafe server and the limit on outcomes, which the stores share.
pub use ackonce::store::{MAX_VALUE_LEN, Names, OnUnsafe};
pub use check::RedisServer;
pub use config::{RedisConfig, Replicas};
pub use store::RedisStore;
pub use survey::RedisSurvey;
