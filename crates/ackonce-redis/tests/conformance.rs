//! The suite that every store is held to, as a value and in an `Arc`, on a real Redis.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce::store::Settle;
use ackonce_redis::{RedisConfig, RedisStore};
use ackonce_testkit::conformance::{Breakable, Fixture, swept};
use async_trait::async_trait;

struct Opened {
    url: String,
    prefix: String,
    config: RedisConfig,
    hand_out: fn(RedisStore) -> Arc<dyn Deduplicator>,
}

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        (self.hand_out)(self.config.clone().connect().await.unwrap())
    }

    /// Over new connections; tests/reopened.rs kills the server.
    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        self.open().await
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        common::wire(&self.url, &self.prefix).await
    }

    fn impossible(&self) -> Option<Settle> {
        Some(common::impossible())
    }

    async fn held(&self) -> u64 {
        swept(&self.config.clone().connect().await.unwrap()).await
    }
}

fn opened(url: String, hand_out: fn(RedisStore) -> Arc<dyn Deduplicator>) -> Opened {
    let prefix = common::name();
    let config = RedisConfig::new(&url).with_prefix(&prefix);
    Opened { url, prefix, config, hand_out }
}

ackonce_testkit::conformance!(redis, opened(or_return!(common::url()), |store| Arc::new(store)));
ackonce_testkit::conformance!(
    shared,
    opened(or_return!(common::url()), |store| Arc::new(Arc::new(store) as Arc<dyn Deduplicator>))
);
