//! The suite for stores on a server: a wire that loses, delays and cuts. With prepared statements and without.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use ackonce::{Deduplicator, Result};
use ackonce_postgres::Prepare;
use ackonce_testkit::network;
use async_trait::async_trait;
use common::Place;

struct Opened {
    place: Place,
    prepare: Prepare,
}

#[async_trait]
impl network::Fixture for Opened {
    fn server(&self) -> String {
        self.place.server().to_owned()
    }

    async fn open(&self, address: &str) -> Result<Arc<dyn Deduplicator>> {
        let url = self.place.url.replacen(self.place.server(), address, 1);
        let config = Place { url, ..self.place.clone() }.config().with_prepare(self.prepare);
        Ok(Arc::new(config.with_request_timeout(Duration::from_secs(4)).connect().await?))
    }
}

fn opened(prepare: Prepare) -> Option<Opened> {
    Some(Opened { place: common::place()?, prepare })
}

/// Ends the test where there is no server, which was said loudly.
macro_rules! opened {
    ($prepare:expr) => {
        match opened($prepare) {
            Some(opened) => opened,
            None => return,
        }
    };
}

ackonce_testkit::network!(prepared, opened!(Prepare::Cached));
ackonce_testkit::network!(unprepared, opened!(Prepare::Never));
