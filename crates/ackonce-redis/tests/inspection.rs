//! The suite for inspection and repair, in a place of each property's own.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::store::Inspect;
use ackonce_redis::RedisConfig;
use ackonce_testkit::inspection::Fixture;
use async_trait::async_trait;

struct Opened(RedisConfig);

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Inspect> {
        Arc::new(self.0.clone().connect().await.unwrap())
    }

    fn is_alone(&self) -> bool {
        true
    }
}

ackonce_testkit::inspection!(redis, Opened(or_return!(common::config())));
