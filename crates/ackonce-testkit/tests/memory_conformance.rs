//! The in-memory store, as a value, in a box and in an `Arc`, by the suite that every store is held to.

use std::sync::Arc;

use ackonce::store::Settle;
use ackonce::{Deduplicator, MemoryStore};
use ackonce_testkit::conformance::{Breakable, Fixture, Unbreakable, run_all, swept};
use async_trait::async_trait;

struct Opened(fn(MemoryStore) -> Arc<dyn Deduplicator>, MemoryStore);

#[async_trait]
impl Fixture for Opened {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        self.0(self.1.clone())
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        self.0(MemoryStore::new())
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        Box::new(Unbreakable(self.open().await))
    }

    fn impossible(&self) -> Option<Settle> {
        None
    }

    async fn held(&self) -> u64 {
        swept(&self.1).await
    }
}

fn value(store: MemoryStore) -> Arc<dyn Deduplicator> {
    Arc::new(store)
}

fn boxed(store: MemoryStore) -> Arc<dyn Deduplicator> {
    Arc::new(Box::new(store) as Box<dyn Deduplicator>)
}

fn shared(store: MemoryStore) -> Arc<dyn Deduplicator> {
    Arc::new(Arc::new(store) as Arc<dyn Deduplicator>)
}

ackonce_testkit::conformance!(memory, Opened(value, MemoryStore::new()));
ackonce_testkit::conformance!(memory_boxed, Opened(boxed, MemoryStore::new()));
ackonce_testkit::conformance!(memory_shared, Opened(shared, MemoryStore::new()));

#[tokio::test(start_paused = true)]
async fn memory_on_a_clock_that_stands_still() {
    let report = run_all(&Opened(value, MemoryStore::new())).await;
    assert!(report.failed.is_empty(), "{:#?}", report.failed);
}
