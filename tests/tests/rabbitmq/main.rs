//! The consumer on a real RabbitMQ.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should panic"
)]

mod acks;
mod burials;
mod delays;
mod handed_back;
mod health;
mod hostile;
mod inside;
mod missing;
mod outages;
mod processes;
mod starts;
mod tls;
mod unreadable;
