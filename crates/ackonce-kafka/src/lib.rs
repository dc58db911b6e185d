#![doc = include_str!("../README.md")]

mod admit;
mod assignment;
mod budget;
mod checks;
mod close;
mod commit;
mod consumer;
mod dead_letters;
mod digest;
mod errors;
mod group;
pub mod headers;
mod health;
mod incoming;
mod inquiry;
mod lane;
mod message;
mod meters;
mod poll;
mod probe;
mod publisher;
mod quiet;
mod reader;
mod rebalance;
mod recreated;
mod report;
mod retention;
mod retry;
mod run;
mod start;
pub mod tracker;
mod waker;

pub use ackonce::OnMissing;
pub use consumer::{KafkaConsumer, Order};
pub use health::Health;
pub use incoming::{Incoming, Offsets, commit};
pub use message::Message;
pub use meters::METRICS;
pub use publisher::Publisher;
pub use rdkafka::{self, ClientConfig};
#[doc(hidden)]
pub use recreated::Signs;
pub use report::{Oldest, PartitionReport, Phase, Report};
pub use retry::RetryTopic;
