//! Random histories of two clients, each with a connection of its own.
//!
//! The scripts decide on the server, and a client keeps nothing that another one could miss, so a second process would
//! add nothing to a second connection. The server's clock cannot be moved.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use ackonce_redis::RedisConfig;
use ackonce_testkit::histories::{Fixture, Party};
use async_trait::async_trait;

struct Opened(RedisConfig);

#[async_trait]
impl Fixture for Opened {
    async fn open(&self, _: usize) -> Party {
        Party::here(Arc::new(self.0.clone().connect().await.unwrap()))
    }

    async fn pass(&self, _: Duration) -> Option<u64> {
        None
    }

    /// A list and a sweep walk all places that a record may have: a third of a second each.
    fn histories(&self) -> u32 {
        8
    }
}

ackonce_testkit::histories!(redis_histories, Opened(or_return!(common::config())));
