#![doc = include_str!("../README.md")]

mod check;
mod config;
mod connection;
mod error;
mod inspect;
mod records;
mod request;
mod store;

pub use config::{RedisConfig, Replicas, Unsafe};
pub use request::MAX_VALUE_LEN;
pub use store::RedisStore;
