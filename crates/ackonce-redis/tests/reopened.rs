//! An answer holds after a `kill -9` of the server itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on should panic")]

mod common;

use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce::store::Settle;
use ackonce_testkit::conformance::{Breakable, Fixture, durability, swept};
use async_trait::async_trait;
use common::Server;
use tokio::sync::Mutex;

struct Own(Mutex<Server>);

#[async_trait]
impl Fixture for Own {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        Arc::new(self.0.lock().await.config().connect().await.unwrap())
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        let mut server = self.0.lock().await;
        server.crash();
        let up = server.wait_until_up();
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(up));
        Arc::new(server.config().connect().await.unwrap())
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        common::wire(&self.0.lock().await.url(), "").await
    }

    fn impossible(&self) -> Option<Settle> {
        Some(common::impossible())
    }

    async fn held(&self) -> u64 {
        swept(&self.0.lock().await.config().connect().await.unwrap()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_has_what_was_answered() {
    let own = Own(Mutex::new(or_return!(Server::start(&[]).await)));
    durability::a_claim_outlives_its_process(&own).await;
    durability::a_settlement_outlives_its_process(&own).await;
}
