//! The suite for looking and tending: each client is a store of its own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::store::Inspect;
use ackonce_testkit::inspection::Fixture;
use async_trait::async_trait;
use common::Place;

struct Opened(Place);

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Inspect> {
        Arc::new(self.0.config().connect().await.unwrap())
    }

    fn is_alone(&self) -> bool {
        true
    }
}

/// Ends the test where there is no server, which was said loudly.
macro_rules! opened {
    () => {
        match common::place() {
            Some(place) => Opened(place),
            None => return,
        }
    };
}

ackonce_testkit::inspection!(postgres, opened!());
