//! The in-memory store.

use std::sync::Arc;

use ackonce::MemoryStore;
use ackonce::store::Inspect;
use anyhow::Context as _;
use serde_json::{Value, json};

use super::subject::{ByHand, Subject};

pub(super) struct Memory;

impl Memory {
    pub(super) fn new() -> Self {
        Self
    }
}

impl Subject for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn settings(&mut self) -> anyhow::Result<Value> {
        let cores = std::thread::available_parallelism()?.get();
        Ok(json!({"ackonce": env!("CARGO_PKG_VERSION"), "cores": cores}))
    }

    fn open(&mut self, _: &str) -> anyhow::Result<Arc<dyn Inspect>> {
        Ok(Arc::new(MemoryStore::new()))
    }

    fn loaders(&self) -> u64 {
        1
    }

    /// The resident memory of this process, meaningful where nothing else allocates.
    fn bytes(&mut self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string("/proc/self/status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    }

    fn by_hand(&mut self) -> anyhow::Result<Option<Box<dyn ByHand>>> {
        Ok(None)
    }
}
