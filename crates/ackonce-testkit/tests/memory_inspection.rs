//! The in-memory store, by the suite that every store an operator can look into is held to.

use std::sync::Arc;

use ackonce::MemoryStore;
use ackonce::store::Inspect;
use ackonce_testkit::inspection::Fixture;
use async_trait::async_trait;

struct Memory(MemoryStore);

#[async_trait]
impl Fixture for Memory {
    async fn open(&self) -> Arc<dyn Inspect> {
        Arc::new(self.0.clone())
    }

    fn is_alone(&self) -> bool {
        true
    }
}

ackonce_testkit::inspection!(memory, Memory(MemoryStore::new()));
