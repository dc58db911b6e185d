#![doc = include_str!("../README.md")]

mod books;
mod consumer;
mod dead_letters;
mod message;
mod poll;
mod rebalance;
mod retention;
pub mod tracker;

pub use consumer::{KafkaConsumer, OnMissing, Order};
pub use dead_letters::headers;
pub use message::Message;
pub use rdkafka::{self, ClientConfig};

/// Offset commits of one consumer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct CommitCounts {
    commits: u64,
    failed: u64,
}
