#![doc = include_str!("../README.md")]

mod channel;
mod connection;
mod consumer;
mod delayer;
mod delays;
pub mod headers;
mod health;
mod intake;
mod letters;
mod log;
mod management;
mod message;
mod metrics;
mod outbound;
mod own_loop;
mod publisher;
mod redrive;
mod session;
mod topology;
pub mod tracker;

pub use self::metrics::{AmqpCounts, AmqpMetrics, METRICS};
pub use ackonce::adapter::{Phase, Waits};
pub use ackonce::{OnMissing, Order};
pub use connection::Connecting;
pub use consumer::AmqpConsumer;
pub use delays::Delays;
pub use health::AmqpHealth;
pub use health::report::{AmqpReport, OldestDelivery};
pub use lapin;
pub use message::{AmqpMessage, MESSAGE_ID};
pub use outbound::AmqpPublisher;
pub use own_loop::{Acked, AmqpDelivery, ack, give_back};
pub use publisher::AmqpRefusal;
pub use redrive::DeadLetterQueue;
