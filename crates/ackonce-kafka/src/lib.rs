#![doc = include_str!("../README.md")]

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
mod inquiry;
mod intake;
mod lane;
mod message;
mod meters;
mod own_loop;
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

pub use ackonce::adapter::{Phase, Waits};
pub use ackonce::{OnMissing, Order};
pub use consumer::KafkaConsumer;
pub use health::KafkaHealth;
pub use message::KafkaMessage;
pub use meters::METRICS;
pub use own_loop::{KafkaDelivery, Offsets, commit};
pub use rdkafka::{self, ClientConfig};
#[doc(hidden)]
pub use recreated::Signs;
pub use report::{KafkaReport, OldestOffset, PartitionReport};
pub use retry::RetryTopic;
