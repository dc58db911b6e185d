//! The consumer on a real Kafka.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should panic"
)]

mod burials;
mod chaos;
mod hand_back;
mod inside;
mod leaving;
mod limits;
mod membership;
mod missing_ids;
mod processes;
mod rebalances;
mod records;
mod retries;
mod starts;
mod stuck;
