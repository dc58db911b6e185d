//! The suite that every store is held to: with prepared statements and without, as a value and in an `Arc`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce::store::Settle;
use ackonce_postgres::{PostgresStore, Prepare};
use ackonce_testkit::conformance::{Breakable, Fixture, swept};
use async_trait::async_trait;
use common::Place;

/// A place to which each client connects anew.
struct Opened {
    place: Place,
    prepare: Prepare,
    hand_out: fn(PostgresStore) -> Arc<dyn Deduplicator>,
}

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        (self.hand_out)(self.place.config().with_prepare(self.prepare).connect().await.unwrap())
    }

    /// Over new connections; tests/reopened.rs kills the server.
    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        self.open().await
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        self.place.wire(self.prepare).await
    }

    fn impossible(&self) -> Option<Settle> {
        Some(common::impossible())
    }

    async fn held(&self) -> u64 {
        swept(&self.place.store().await).await
    }

    fn secrets(&self) -> Vec<String> {
        vec!["not shown".to_owned()]
    }
}

fn value(store: PostgresStore) -> Arc<dyn Deduplicator> {
    Arc::new(store)
}

fn shared(store: PostgresStore) -> Arc<dyn Deduplicator> {
    Arc::new(Arc::new(store) as Arc<dyn Deduplicator>)
}

/// The server lets everybody in, so the password only has to stay secret.
macro_rules! opened {
    ($prepare:expr, $hand_out:expr) => {
        match common::place() {
            Some(place) => {
                let place = Place { url: place.url.replacen('@', ":not%20shown@", 1), ..place };
                Opened { place, prepare: $prepare, hand_out: $hand_out }
            }
            None => return,
        }
    };
}

ackonce_testkit::conformance!(prepared, opened!(Prepare::Cached, value));
ackonce_testkit::conformance!(unprepared, opened!(Prepare::Never, shared));
