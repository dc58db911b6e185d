//! An answered change holds after a `kill -9` of the server itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce::store::Settle;
use ackonce_postgres::Prepare;
use ackonce_testkit::conformance::{Breakable, Fixture, durability, swept};
use async_trait::async_trait;
use common::Place;
use common::own::Own;

struct Killed {
    own: Own,
    place: Place,
}

#[async_trait]
impl Fixture for Killed {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        Arc::new(self.place.store().await)
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        self.own.control("kill");
        self.own.control("start");
        self.open().await
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        self.place.wire(Prepare::Cached).await
    }

    fn impossible(&self) -> Option<Settle> {
        Some(common::impossible())
    }

    async fn held(&self) -> u64 {
        swept(&self.place.store().await).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_has_what_was_answered() {
    let Some(own) = Own::start() else { return };
    let killed = Killed { place: own.place("reopened"), own };
    durability::a_claim_outlives_its_process(&killed).await;
    durability::a_settlement_outlives_its_process(&killed).await;
}
