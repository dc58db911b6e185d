//! The suite for looking and tending: each client is a store of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::{Inspect, MemoryStore};
use ackonce_testkit::inspection::Fixture;
use async_trait::async_trait;
use common::Place;

/// Nowhere without a server, which was said loudly.
struct Opened {
    place: Option<Place>,
    instead: MemoryStore,
}

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Inspect> {
        match &self.place {
            Some(place) => Arc::new(place.config().connect().await.unwrap()),
            None => Arc::new(self.instead.clone()),
        }
    }

    fn is_alone(&self) -> bool {
        true
    }
}

ackonce_testkit::inspection!(postgres, Opened { place: common::place(), instead: MemoryStore::new() });
