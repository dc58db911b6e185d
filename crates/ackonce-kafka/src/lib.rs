#![doc = include_str!("../README.md")]

mod consumer;
mod delayer;
mod delays;
mod driver;
pub mod headers;
mod health;
mod intake;
mod letters;
mod log;
mod message;
mod metrics;
mod own_loop;
mod partition;
mod poll;
mod publisher;
mod recreated;
mod redrive;
mod survey;
pub mod tracker;

pub use ackonce::adapter::{Phase, Waits};
pub use ackonce::{OnMissing, Order};
pub use consumer::KafkaConsumer;
pub use delays::RetryTopic;
pub use health::KafkaHealth;
pub use health::report::{KafkaReport, OldestOffset, PartitionReport};
pub use message::KafkaMessage;
pub use metrics::METRICS;
pub use own_loop::{KafkaDelivery, Offsets, commit};
pub use publisher::KafkaPublisher;
pub use rdkafka::{self, ClientConfig};
#[doc(hidden)]
pub use recreated::Signs;
pub use redrive::DeadLetterTopic;
pub use survey::{GroupPlace, KafkaSurvey, TopicFacts};
