//! The store, as a value and in an `Arc`, by the suite that every store is held to, on a real Redis.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::{Deduplicator, MemoryStore};
use ackonce_redis::RedisConfig;
use ackonce_testkit::conformance::Fixture;
use async_trait::async_trait;

struct Opened {
    wrap: fn(ackonce_redis::RedisStore) -> Arc<dyn Deduplicator>,
    config: Option<RedisConfig>,
    /// Stands in where there is no server, which was said loudly.
    nothing: MemoryStore,
}

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        match &self.config {
            Some(config) => (self.wrap)(config.clone().connect().await.unwrap()),
            None => Arc::new(self.nothing.clone()),
        }
    }
}

fn opened(wrap: fn(ackonce_redis::RedisStore) -> Arc<dyn Deduplicator>) -> Opened {
    Opened { wrap, config: common::config(), nothing: MemoryStore::new() }
}

ackonce_testkit::conformance!(redis, opened(|store| Arc::new(store)));
ackonce_testkit::conformance!(redis_shared, opened(|store| Arc::new(Arc::new(store) as Arc<dyn Deduplicator>)));
