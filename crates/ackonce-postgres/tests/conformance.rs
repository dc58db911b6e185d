//! The suite that every store is held to: with prepared statements and without, as a value and in an `Arc`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::{Deduplicator, MemoryStore};
use ackonce_postgres::{PostgresStore, Prepare};
use ackonce_testkit::conformance::Fixture;
use async_trait::async_trait;
use common::Place;

/// Where each client connects anew; nowhere without a server, which was said loudly.
struct Opened {
    place: Option<Place>,
    prepare: Prepare,
    hand_out: fn(PostgresStore) -> Arc<dyn Deduplicator>,
    instead: MemoryStore,
}

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        match &self.place {
            Some(place) => {
                (self.hand_out)(place.config().with_prepare(self.prepare).connect().await.unwrap())
            }
            None => Arc::new(self.instead.clone()),
        }
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
fn opened(prepare: Prepare, hand_out: fn(PostgresStore) -> Arc<dyn Deduplicator>) -> Opened {
    let place =
        common::place().map(|place| Place { url: place.url.replacen('@', ":not%20shown@", 1), ..place });
    Opened { place, prepare, hand_out, instead: MemoryStore::new() }
}

ackonce_testkit::conformance!(prepared, opened(Prepare::Cached, value));
ackonce_testkit::conformance!(unprepared, opened(Prepare::Never, shared));
