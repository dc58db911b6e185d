#![doc = include_str!("../README.md")]

mod acks;
mod checks;
mod connect;
mod consumer;
mod dead_letters;
mod delays;
mod delivery;
pub mod headers;
mod incoming;
mod intake;
mod management;
mod message;
mod republish;
mod run;
mod session;
mod tally;
pub mod tracker;

pub use connect::Connecting;
pub use consumer::{AmqpConsumer, OnMissing, Order};
pub use delays::Delays;
pub use incoming::{Acked, Incoming, ack, give_back};
pub use lapin;
pub use message::{MESSAGE_ID, Message};
pub use tally::{AmqpCounts, Tally};
