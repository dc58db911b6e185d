//! Shared by the end-to-end tests: a broker, a worker process that can be killed, its effects.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on should panic"
)]

pub mod acceptance;
pub mod amqp;
pub mod books;
pub mod drivers;
pub mod feed;
pub mod inbox;
pub mod kafka;
pub mod outbox;
pub mod raw;
pub mod rights;
pub mod said;
pub mod worker;

/// For handlers written out as types.
pub use async_trait::async_trait;

use std::time::{Duration, Instant};

/// Waits until `condition` holds. The bound only turns a hang into a failure.
///
/// # Panics
/// Fails after two minutes, naming the awaited condition.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(120);
    while !condition() {
        assert!(Instant::now() < end, "waited two minutes: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
