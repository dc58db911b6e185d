//! The suite that every store is held to, as a value and in an `Arc`, on a real Redis.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce_redis::{RedisConfig, RedisStore};
use ackonce_testkit::conformance::Fixture;
use async_trait::async_trait;

struct Opened {
    config: RedisConfig,
    hand_out: fn(RedisStore) -> Arc<dyn Deduplicator>,
}

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        (self.hand_out)(self.config.clone().connect().await.unwrap())
    }
}

ackonce_testkit::conformance!(
    redis,
    Opened { config: or_return!(common::config()), hand_out: |store| Arc::new(store) }
);
ackonce_testkit::conformance!(
    shared,
    Opened {
        config: or_return!(common::config()),
        hand_out: |store| Arc::new(Arc::new(store) as Arc<dyn Deduplicator>)
    }
);
