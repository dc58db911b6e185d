//! A store of somebody else's, written from the docs: a folder with a file for each record. It passes the suite.
#![allow(clippy::unwrap_used, reason = "tests")]

mod folder;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use ackonce::Deduplicator;
use ackonce::store::Settle;
use ackonce_testkit::conformance::{Breakable, CannotFail, Fixture, Outage, copied};
use async_trait::async_trait;
use folder::{FolderStore, MAX_OUTCOME};
use tempfile::TempDir;

struct Folders {
    _root: TempDir,
    records: PathBuf,
    copy: PathBuf,
    store: Arc<FolderStore>,
}

fn folders() -> Folders {
    let root = TempDir::new().unwrap();
    let [records, copy] = ["records", "copy"].map(|name| root.path().join(name));
    fs::create_dir(&copy).unwrap();
    let store = Arc::new(FolderStore::open(&records).unwrap());
    Folders { _root: root, records, copy, store }
}

/// A folder that is taken away, as an unmounted disk is.
struct Unmounted {
    store: Arc<FolderStore>,
    records: PathBuf,
}

#[async_trait]
impl Breakable for Unmounted {
    fn client(&self) -> Arc<dyn Deduplicator> {
        self.store.clone()
    }

    async fn fail(&self, failure: Outage) -> Result<(), CannotFail> {
        if failure == Outage::ReplyLost {
            return Err(CannotFail("a flush that fails takes a broken disk"));
        }
        fs::rename(&self.records, self.records.with_extension("away")).unwrap();
        Ok(())
    }

    async fn heal(&self) {
        fs::rename(self.records.with_extension("away"), &self.records).unwrap();
    }
}

#[async_trait]
impl Fixture for Folders {
    async fn open(&self) -> Arc<dyn Deduplicator> {
        self.store.clone()
    }

    async fn reopen(&self) -> Arc<dyn Deduplicator> {
        copied(&self.records, &self.copy).unwrap();
        Arc::new(FolderStore::open(&self.copy).unwrap())
    }

    async fn breakable(&self) -> Box<dyn Breakable> {
        Box::new(Unmounted { store: self.store.clone(), records: self.records.clone() })
    }

    fn impossible(&self) -> Option<Settle> {
        let outcome = Some(vec![0; MAX_OUTCOME + 1].into());
        Some(Settle::Complete { window: std::time::Duration::from_secs(60), outcome })
    }

    async fn held(&self) -> u64 {
        self.store.sweep().unwrap();
        fs::read_dir(&self.records).unwrap().count() as u64
    }
}

ackonce_testkit::conformance!(folder_store, folders());
