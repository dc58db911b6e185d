//! The in-memory store in random histories.

use std::sync::Arc;
use std::time::Duration;

use ackonce::MemoryStore;
use ackonce_testkit::histories::{Fixture, Party};
use async_trait::async_trait;

struct Memory(MemoryStore);

#[async_trait]
impl Fixture for Memory {
    async fn open(&self, _: usize) -> Party {
        Party::here(Arc::new(self.0.clone()))
    }

    async fn pass(&self, _: Duration) -> Option<u64> {
        None
    }

    fn histories(&self) -> u32 {
        100
    }
}

ackonce_testkit::histories!(memory_histories, Memory(MemoryStore::new()));
